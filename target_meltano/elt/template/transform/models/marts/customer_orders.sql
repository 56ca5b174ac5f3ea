-- One row per customer: how many orders, and what they came to.
with orders as (

    select
        orders.customer_id,
        orders.id as order_id,
        orders.placed_at,
        sum(lines.quantity * lines.unit_price) as amount
    from {{ ref('stg_shop__orders') }} as orders
    left join {{ ref('stg_shop__order_lines') }} as lines on lines.order_id = orders.id
    where orders.status <> 'returned'
    group by 1, 2, 3

)

select
    customers.id as customer_id,
    customers.name,
    customers.address__country_code as country_code,
    count(orders.order_id) as orders,
    coalesce(sum(orders.amount), 0) as amount,
    max(orders.placed_at) as last_order_at
from {{ ref('stg_shop__customers') }} as customers
left join orders on orders.customer_id = customers.id
group by 1, 2, 3

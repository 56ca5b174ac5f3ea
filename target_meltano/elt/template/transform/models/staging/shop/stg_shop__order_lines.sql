-- Written by `target-meltano dbt scaffold`; edit it, and it is yours and stays as it is. sha256:281c783735bc91bb
with source as (

    select * from {{ source('shop', 'order_lines') }}

), renamed as (

    select
        order_id,
        line,
        sku,
        quantity,
        unitprice as unit_price,
        __loaded_at as loaded_at
    from source

)
select * from renamed

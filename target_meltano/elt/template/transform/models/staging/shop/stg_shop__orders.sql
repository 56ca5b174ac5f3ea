-- Written by `target-meltano dbt scaffold`; edit it, and it is yours and stays as it is. sha256:1268ef3be6c4ce87
with source as (

    select * from {{ source('shop', 'orders') }}

), renamed as (

    select
        id,
        customer_id,
        status,
        placedat as placed_at,
        note,
        __loaded_at as loaded_at
    from source

)
select * from renamed

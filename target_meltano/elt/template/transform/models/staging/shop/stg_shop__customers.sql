-- Written by `target-meltano dbt scaffold`; edit it, and it is yours and stays as it is. sha256:92ea0c885ff83c09
with source as (

    select * from {{ source('shop', 'customers') }}

), renamed as (

    select
        id,
        name,
        email,
        createdat as created_at,
        address__city,
        address__countrycode as address__country_code,
        __loaded_at as loaded_at
    from source

)
select * from renamed

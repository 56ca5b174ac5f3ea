{# What `target-meltano dbt scaffold` asks the warehouse: the columns of a schema's tables, their comments and keys, and
   what the ledger __loads says of the streams. All as text, printed as one line of JSON for each schema. #}

{% macro target_meltano_catalogue(schemas) %}
  {% for schema in schemas %}
    {% set name = target_meltano_fold(schema) %}
    {% set loads = target_meltano_fold('__loads') %}
    {% set found = {'schema': name, 'columns': [], 'keys': [], 'streams': []} %}
    {% if target_meltano_rows(target_meltano_table(name, loads)) %}
      {% do found.update(columns=target_meltano_rows(target_meltano_columns(name))) %}
      {% do found.update(keys=target_meltano_rows(target_meltano_keys(name))) %}
      {% do found.update(streams=target_meltano_rows('select distinct stream, ddl, schema, started_at from ' ~ target_meltano_relation(name, loads) ~ ' order by started_at')) %}
    {% endif %}
    {{ print('target-meltano: ' ~ tojson(found)) }}
  {% endfor %}
{% endmacro %}

{% macro target_meltano_rows(sql) %}
  {% set rows = [] %}
  {% for row in run_query(sql).rows %}
    {% set cells = [] %}
    {% for cell in row.values() %}{% do cells.append(none if cell is none else cell | string) %}{% endfor %}
    {% do rows.append(cells) %}
  {% endfor %}
  {% do return(rows) %}
{% endmacro %}

{% macro target_meltano_fold(name) %}{% do return(adapter.dispatch('target_meltano_fold')(name)) %}{% endmacro %}
{% macro default__target_meltano_fold(name) %}{% do return(name) %}{% endmacro %}
{% macro snowflake__target_meltano_fold(name) %}{% do return(name | upper) %}{% endmacro %}

{# SQL of a text, and of a name: dbt's own adapters double no quotes. #}
{% macro target_meltano_text(text) %}{% do return("'" ~ text | replace("'", "''") ~ "'") %}{% endmacro %}
{% macro target_meltano_quoted() %}
  {% set names = [] %}
  {% for name in varargs %}{% do names.append('"' ~ name | replace('"', '""') ~ '"') %}{% endfor %}
  {% do return(names | join('.')) %}
{% endmacro %}

{% macro target_meltano_relation(schema, table) %}{% do return(adapter.dispatch('target_meltano_relation')(schema, table)) %}{% endmacro %}
{% macro default__target_meltano_relation(schema, table) %}{% do return(target_meltano_quoted(schema, table)) %}{% endmacro %}
{% macro snowflake__target_meltano_relation(schema, table) %}{% do return(target.database ~ '.' ~ target_meltano_quoted(schema, table)) %}{% endmacro %}

{# A row if there is such a table. #}
{% macro target_meltano_table(schema, table) %}{% do return(adapter.dispatch('target_meltano_table')(schema, table)) %}{% endmacro %}

{% macro postgres__target_meltano_table(schema, table) %}
  {% set sql %}
    select c.relname::text from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = {{ target_meltano_text(schema) }} and c.relname = {{ target_meltano_text(table) }} and c.relkind in ('r', 'p')
  {% endset %}
  {% do return(sql) %}
{% endmacro %}

{% macro snowflake__target_meltano_table(schema, table) %}
  {% set sql %}
    select table_name from {{ target.database }}.information_schema.tables
    where table_schema = {{ target_meltano_text(schema) }} and table_name = {{ target_meltano_text(table) }} and table_type = 'BASE TABLE'
  {% endset %}
  {% do return(sql) %}
{% endmacro %}

{# Rows of table, column, type, comment, in the order of the columns. #}
{% macro target_meltano_columns(schema) %}{% do return(adapter.dispatch('target_meltano_columns')(schema)) %}{% endmacro %}

{% macro postgres__target_meltano_columns(schema) %}
  {% set sql %}
    select c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.col_description(c.oid, a.attnum)
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = {{ target_meltano_text(schema) }})
      and c.relkind in ('r', 'p')
    order by c.relname, a.attnum
  {% endset %}
  {% do return(sql) %}
{% endmacro %}

{% macro snowflake__target_meltano_columns(schema) %}
  {% set sql %}
    select c.table_name, c.column_name, c.data_type, c.comment
    from {{ target.database }}.information_schema.columns as c
    join {{ target.database }}.information_schema.tables as t on t.table_schema = c.table_schema and t.table_name = c.table_name
    where c.table_schema = {{ target_meltano_text(schema) }} and t.table_type = 'BASE TABLE'
    order by c.table_name, c.ordinal_position
  {% endset %}
  {% do return(sql) %}
{% endmacro %}

{# Rows of table, column, in the order of the key. #}
{% macro target_meltano_keys(schema) %}{% do return(adapter.dispatch('target_meltano_keys')(schema)) %}{% endmacro %}

{% macro postgres__target_meltano_keys(schema) %}
  {% set sql %}
    select c.relname::text, a.attname::text
    from pg_catalog.pg_index as i
    join pg_catalog.pg_class as c on c.oid = i.indrelid
    cross join lateral unnest(i.indkey::int2[]) with ordinality as key (attnum, position)
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum = key.attnum
    where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = {{ target_meltano_text(schema) }})
      and i.indisprimary
    order by c.relname, key.position
  {% endset %}
  {% do return(sql) %}
{% endmacro %}

{% macro snowflake__target_meltano_keys(schema) %}
  {% do run_query('show primary keys in schema ' ~ target.database ~ '.' ~ target_meltano_quoted(schema)) %}
  {% do return('select "table_name", "column_name" from table(result_scan(last_query_id())) order by "table_name", "key_sequence"') %}
{% endmacro %}

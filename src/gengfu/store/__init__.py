"""The database: tables, migrations, connections and repositories; the only place that knows SQL."""

"""The environment in which Alembic runs the migrations that lie in the working folder, in `app/migrations`."""

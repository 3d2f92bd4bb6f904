"""What Alembic runs: the steps that a ledger lacks, each in a transaction of its own."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # in SQLite too: the node begins transactions, not the driver
    transaction_per_migration=True,  # writers wait for one step at a time
)
with context.begin_transaction():
    context.run_migrations()

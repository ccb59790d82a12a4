"""A streaming standby of another server of the table, which is running then; of PostgreSQL 17 or later it keeps the slots
synchronised, too. Each start makes it anew, so that it may be promoted."""
import os
import subprocess

from servers.base import Failed
from servers.postgres import PASSWORD, USER, Postgres

# PostgreSQL's own steps for a copy of a server that runs: not every one comes with pg_basebackup. `\!` is the shell's.
COPY = r"""
\set ON_ERROR_STOP on
SELECT pg_backup_start('standby', true);
\! cp -a '{data}' '{copy}'; rm -rf '{copy}/postmaster.pid' '{copy}/pg_replslot/'* '{copy}/pg_wal/'0*
\o '{copy}/backup_label'
SELECT labelfile FROM pg_backup_stop(false);
"""
SLOT = "SELECT pg_create_physical_replication_slot('{0}', true) WHERE '{0}' NOT IN (SELECT slot_name FROM pg_replication_slots)"
UNSLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{0}' AND NOT active"
# A failover slot of the primary then hands out nothing that the standby does not have.
AWAITED = "ALTER SYSTEM SET synchronized_standby_slots = '{0}'"


class Standby(Postgres):
    variable = None

    def __init__(self, name, settings, primary):
        super().__init__(name, settings, primary.version)
        self.primary = primary

    def programs(self):
        return self.primary.programs()

    def usable(self):
        return self.primary.usable()

    def syncs_slots(self):
        return self.ask("SELECT current_setting('server_version_num')::int >= 170000") == "t"

    def ask(self, *statements, script=None):
        words = [self.bin("psql"), "-XqAt", "-h", self.primary.base(), "-p", str(self.primary.port), "-U", USER, "movies"]
        words += [word for statement in statements for word in ("-c", statement.format(self.name))]
        done = subprocess.run(
            words, cwd="/", check=False, input=script, capture_output=True, encoding="utf-8", **self.who()
        )
        if done.returncode != 0:
            raise Failed(f"could not make {self.name} of {self.primary.name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def prepare(self):
        if not self.primary.running():
            self.primary.start()
            self.primary.ready()
        copy = os.path.join(self.base(), "data")
        subprocess.run(["rm", "-rf", copy], check=True)
        self.ask(SLOT)
        self.ask(script=COPY.format(data=os.path.join(self.primary.base(), "data"), copy=copy))
        subprocess.run(["touch", os.path.join(copy, "standby.signal")], cwd="/", check=True, **self.who())
        if self.syncs_slots():
            self.ask(AWAITED, "SELECT pg_reload_conf()")

    def options(self):
        words = f"host=127.0.0.1 port={self.primary.port} user={USER} password={PASSWORD} dbname=movies"
        options = {"primary_conninfo": words, "primary_slot_name": self.name, "hot_standby_feedback": "on"}
        if self.syncs_slots():
            options["sync_replication_slots"] = "on"
        return options

    def wait_for_stop(self):
        """Nor does the primary wait for it any more, and keep its log."""
        super().wait_for_stop()
        if not self.primary.running():
            return
        if self.syncs_slots():
            self.ask("ALTER SYSTEM RESET synchronized_standby_slots", "SELECT pg_reload_conf()")
        self.ask(UNSLOT)

"""Tables of databases, by SQLAlchemy: `sqlite:///days.db#days`, `postgresql+psycopg://host/base#days`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from millrace.client.copying.ports import Connector, End, Page, Row, State
from millrace.core.errors import FatalError, RequestError, TransientError

if TYPE_CHECKING:
    from sqlalchemy import Column, Engine, Select, Table

_STATES: Final = "millrace_copies"


class _Base:
    """One table of one database."""

    def __init__(self, uri: str, credentials: Mapping[str, Any]) -> None:
        try:
            import sqlalchemy  # noqa: PLC0415 -- only who copies tables has it
        except ImportError:
            raise RequestError("tables need SQLAlchemy", remedy="pip install 'millrace[sql]'") from None
        address, _, self.table = uri.partition("#")
        if not self.table:
            raise RequestError("the URI of a database names no table", remedy="add #TABLE to it")
        self.sql: Final = sqlalchemy
        try:
            url = sqlalchemy.make_url(address).set(**credentials)
            self.engine: Final[Engine] = sqlalchemy.create_engine(url)
        except (sqlalchemy.exc.ArgumentError, ImportError, TypeError) as error:
            said = str(error).partition("\n")[0] if isinstance(error, ImportError) else type(error).__name__
            raise RequestError(
                f"the database of the table {self.table!r} cannot be used: {said}",
                remedy="check the URI, the names in the credentials, and that the database's driver is installed",
            ) from None

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn the database's errors into ours; their texts may hold values, so only their kind is told."""
        errors = self.sql.exc
        try:
            yield
        except errors.NoSuchTableError:
            raise RequestError(f"there is no table {self.table!r}", remedy="check the URI's #TABLE") from None
        except (errors.OperationalError, errors.InterfaceError) as error:
            raise TransientError(
                f"the database of the table {self.table!r} cannot do that now: {error.orig}", remedy="run again"
            ) from None
        except errors.SQLAlchemyError as error:
            raise RequestError(
                f"the table {self.table!r} does not take these rows: {type(error).__name__}",
                remedy="compare the columns of the table with the fields of the rows",
            ) from None

    def reflected(self) -> "Table":
        """The table as it is."""
        return self.sql.Table(self.table, self.sql.MetaData(), autoload_with=self.engine)

    def close(self) -> None:
        """Release connections."""
        self.engine.dispose()


class SqlSource:
    """The rows of a table in the order of one column, which is unique and grows: the state is its last value."""

    def __init__(self, end: End) -> None:
        self._base = _Base(end.uri, end.options.source_credentials)
        self._cursor = end.options.cursor or ""
        self._page_rows = end.options.page_rows
        if not self._cursor:
            raise RequestError(
                "a table is read in the order of one column, and none is named",
                remedy="name one that is unique and grows with every new row: --cursor id",
            )

    def pages(self, after: State | None) -> Iterator[Page]:
        """See `Source`."""
        with self._base.reaching():
            wanted, cursor = self._ordered()
            last = after["after"] if after else None
            while rows := self._rows((wanted if last is None else wanted.where(cursor > last)).limit(self._page_rows)):
                last = rows[-1][self._cursor]
                yield Page(rows, {"after": last})

    def between(self, after: State | None, until: State) -> Page:
        """See `RepeatingSource`."""
        with self._base.reaching():
            wanted, cursor = self._ordered()
            upto = wanted.where(cursor <= until["after"])
            return Page(self._rows(upto if after is None else upto.where(cursor > after["after"])), until)

    def close(self) -> None:
        """See `Source`."""
        self._base.close()

    def _ordered(self) -> "tuple[Select[Any], Column[Any]]":
        table = self._base.reflected()
        if self._cursor not in table.columns:
            raise RequestError(
                f"the table {self._base.table!r} has no column {self._cursor!r}",
                remedy=f"its columns are {', '.join(table.columns.keys())}",
            )
        cursor = table.columns[self._cursor]
        return self._base.sql.select(table).order_by(cursor), cursor

    def _rows(self, wanted: "Select[Any]") -> list[dict[str, Any]]:
        with self._base.engine.connect() as connection:
            found = connection.execute(wanted)
            names = list(map(str, found.keys()))  # they are SQLAlchemy's own kind of texts
            return [dict(zip(names, row, strict=True)) for row in found]


class SqlSink:
    """A table, made of the first rows where there is none, and `millrace_copies`, written in one transaction."""

    def __init__(self, end: End) -> None:
        self._base = _Base(end.uri, end.options.sink_credentials)
        self._name = end.name
        sql = self._base.sql
        self._states = sql.Table(
            _STATES,
            sql.MetaData(),
            sql.Column("name", sql.String(200), primary_key=True),
            sql.Column("page", sql.BigInteger, nullable=False),
            sql.Column("state", sql.Text, nullable=False),
        )
        with self._base.reaching(), self._base.engine.begin() as connection:
            self._states.create(connection, checkfirst=True)
            chosen = sql.select(self._states.c.page, self._states.c.state).where(self._states.c.name == end.name)
            found = connection.execute(chosen).one_or_none()
        self._page: int = found.page if found else 0
        self._state: State | None = json.loads(found.state) if found else None
        self._table: Table | None = None

    def position(self) -> State | None:
        """See `Sink`."""
        return self._state

    def write(self, page: Page) -> None:
        """See `Sink`."""
        rows = list(map(_flat, page.rows))
        with self._base.reaching():
            if rows and self._table is None:
                self._table = self._open(rows)
            with self._base.engine.begin() as connection:
                if rows and self._table is not None:
                    names = self._table.columns.keys()
                    connection.execute(self._table.insert(), [{name: row.get(name) for name in names} for row in rows])
                self._advance(connection, page.state)
        self._page, self._state = self._page + 1, page.state

    def close(self) -> None:
        """See `Sink`."""
        self._base.close()

    def _advance(self, connection: Any, state: State) -> None:  # noqa: ANN401 -- of a library that is optional
        states, text = self._states, json.dumps(state, default=str)
        if not self._page:
            connection.execute(states.insert().values(name=self._name, page=1, state=text))
            return
        mine = (states.c.name == self._name) & (states.c.page == self._page)
        if connection.execute(states.update().where(mine).values(page=self._page + 1, state=text)).rowcount != 1:
            raise FatalError(f"another process copies as {self._name!r}", remedy="run one of them")

    def _open(self, rows: Sequence[Row]) -> "Table":
        sql = self._base.sql
        if not sql.inspect(self._base.engine).has_table(self._base.table):
            kinds = {bool: sql.Boolean, int: sql.BigInteger, float: sql.Double}
            names = {name: type(value) for row in rows for name, value in row.items() if value is not None}
            columns = [sql.Column(name, kinds.get(kind, sql.Text)) for name, kind in names.items()]
            sql.Table(self._base.table, sql.MetaData(), *columns).create(self._base.engine)
        table = self._base.reflected()
        if missing := {name for row in rows for name in row} - set(table.columns.keys()):
            raise RequestError(
                f"the table {self._base.table!r} has no column {min(missing)!r}", remedy="add it to the table"
            )
        return table


def _flat(row: Row) -> dict[str, Any]:
    """Lists and objects as texts of JSON, which every database takes."""
    return {
        name: json.dumps(value, default=str) if isinstance(value, list | dict) else value for name, value in row.items()
    }


SQL: Final = Connector(SqlSource, SqlSink)

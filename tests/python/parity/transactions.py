"""Transactions: committed, aborted, in conflict, with cursors."""

import threading

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConfigurationError, InvalidOperation, OperationFailure
from pymongo.read_concern import ReadConcern

from . import expect
from .registry import scenario


def _accounts(ctx, count: int = 4):
    return ctx.seed("accounts", [{"_id": n, "sum": 100} for n in range(count)])


def _sums(accounts, session=None):
    return [one["sum"] for one in accounts.find(session=session).sort("_id")]


@scenario
def commits_all_or_nothing_is_seen_outside(ctx):
    accounts = _accounts(ctx)
    with ctx.client.start_session() as session:
        with session.start_transaction(write_concern=WriteConcern("majority"), read_concern=ReadConcern("snapshot")):
            accounts.update_one({"_id": 0}, {"$inc": {"sum": -30}}, session=session)
            accounts.update_one({"_id": 1}, {"$inc": {"sum": 30}}, session=session)
            accounts.insert_one({"_id": 9, "sum": 1}, session=session)
            inside, outside = _sums(accounts, session), _sums(accounts)
        after = _sums(accounts)
    expect.equal([inside, outside, after], [[70, 130, 100, 100, 1], [100] * 4, [70, 130, 100, 100, 1]])
    return [inside, outside, after]


@scenario
def aborts_leave_nothing(ctx):
    accounts = _accounts(ctx)
    with ctx.client.start_session() as session:
        session.start_transaction()
        accounts.delete_many({}, session=session)
        session.abort_transaction()
        by_hand = _sums(accounts)
        try:
            with session.start_transaction():
                accounts.delete_many({}, session=session)
                raise KeyError("the application's own")
        except KeyError:
            pass
        by_exception = _sums(accounts)
    with ctx.client.start_session() as session:
        session.start_transaction()
        accounts.delete_many({}, session=session)
    by_end_of_session = _sums(accounts)
    # The lock is gone too: this write would wait otherwise.
    accounts.update_one({"_id": 0}, {"$inc": {"sum": 1}})
    expect.equal([by_hand, by_exception, by_end_of_session], [[100] * 4] * 3)
    return [by_hand, by_exception, by_end_of_session]


@scenario
def with_transaction_retries_a_conflict(ctx):
    accounts = _accounts(ctx)
    tries = []

    def transfer(session):
        tries.append(1)
        seen = accounts.find_one({"_id": 0}, session=session)
        if len(tries) == 1:
            accounts.update_one({"_id": 0}, {"$inc": {"sum": 1000}})
        accounts.update_one({"_id": 0}, {"$set": {"sum": seen["sum"] - 30}}, session=session)
        accounts.update_one({"_id": 1}, {"$inc": {"sum": 30}}, session=session)
        return "done"

    with ctx.client.start_session() as session:
        returned = session.with_transaction(transfer)
    expect.equal([returned, len(tries), _sums(accounts)], ["done", 2, [1070, 130, 100, 100]])
    return [returned, len(tries), _sums(accounts)]


@scenario
def the_second_of_two_writers_gets_a_write_conflict(ctx):
    accounts = _accounts(ctx)
    with ctx.client.start_session() as first, ctx.client.start_session() as second:
        first.start_transaction()
        second.start_transaction()
        accounts.update_one({"_id": 0}, {"$inc": {"sum": 1}}, session=first)
        accounts.update_one({"_id": 1}, {"$inc": {"sum": 1}}, session=second)
        conflict = expect.failure(
            lambda: accounts.update_one({"_id": 0}, {"$inc": {"sum": 2}}, session=second), OperationFailure, 112
        )
        expect.true(conflict.has_error_label("TransientTransactionError"), "the label TransientTransactionError")
        aborted = expect.failure(lambda: second.commit_transaction(), code=251)
        first.commit_transaction()
    expect.equal(_sums(accounts), [101, 100, 100, 100])
    return [conflict, aborted]


@scenario
def an_error_inside_ends_the_transaction(ctx):
    accounts = _accounts(ctx)
    with ctx.client.start_session() as session:
        session.start_transaction()
        accounts.update_one({"_id": 1}, {"$inc": {"sum": 1}}, session=session)
        duplicate = expect.failure(lambda: accounts.insert_one({"_id": 0}, session=session), code=11000)
        ended = expect.failure(lambda: accounts.find_one({}, session=session), OperationFailure, 251)
        expect.true(ended.has_error_label("TransientTransactionError"), "the label TransientTransactionError")
        session.abort_transaction()
    expect.equal(_sums(accounts), [100] * 4)
    return [duplicate, ended]


@scenario
def cursors_inside_go_over_many_batches(ctx):
    things = ctx.seed("things", [{"_id": n} for n in range(500)])
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    with client.start_session() as session, session.start_transaction():
        things.insert_one({"_id": 500}, session=session)
        found = things.find({}, session=session, batch_size=60).sort("_id")
        aggregated = things.aggregate([{"$sort": {"_id": -1}}], session=session, batchSize=60)
        pairs = [(one["_id"], other["_id"]) for one, other in zip(found, aggregated)]
        left_open = things.find({}, session=session, batch_size=10)
        next(left_open)
        left_open.close()
    expect.equal(pairs, [(n, 500 - n) for n in range(501)])
    expect.equal(log.counts()["getMore"], 2 * 8)
    return [len(pairs), sorted(log.counts().items())]


@scenario
def all_commands_of_a_transaction(ctx):
    accounts = _accounts(ctx)
    other = ctx.client[ctx.other_database()].copies
    with ctx.client.start_session() as session, session.start_transaction():
        found = [
            accounts.find_one_and_update({"_id": 0}, {"$inc": {"sum": 5}}, session=session),
            accounts.distinct("sum", session=session),
            accounts.count_documents({"sum": 100}, session=session),
            accounts.delete_one({"_id": 3}, session=session).deleted_count,
            accounts.replace_one({"_id": 2}, {"sum": 0}, session=session).modified_count,
            list(accounts.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$sum"}}}], session=session)),
        ]
        other.insert_many([{"_id": n} for n in range(3)], session=session)
        ctx.db.create_collection("made_inside", session=session)
        ctx.db.made_inside.create_index("n", session=session)
        ctx.db.made_inside.insert_one({"_id": 1}, session=session)
    expect.equal(other.count_documents({}), 3)
    expect.equal(sorted(ctx.db.made_inside.index_information()), ["_id_", "n_1"])
    return [found, _sums(accounts)]


@scenario
def committing_twice_is_committing_once(ctx):
    accounts = _accounts(ctx)
    with ctx.client.start_session() as session:
        session.start_transaction(max_commit_time_ms=20_000)
        accounts.update_one({"_id": 0}, {"$inc": {"sum": 1}}, session=session)
        session.commit_transaction()
        session.commit_transaction()
        session.start_transaction()
        session.commit_transaction()
        after_commit = expect.failure(session.abort_transaction, InvalidOperation)
    expect.equal(_sums(accounts), [101, 100, 100, 100])
    return [_sums(accounts), after_commit]


@scenario
def a_transaction_larger_than_an_oplog_entry(ctx):
    things = ctx.seed("things", [{"_id": "seed"}])
    with ctx.client.start_session() as session, session.start_transaction():
        for n in range(4):
            things.insert_many([{"_id": n * 10 + m, "blob": b"x" * 1_000_000} for m in range(6)], session=session)
    expect.equal(things.count_documents({}), 25)
    return things.count_documents({})


@scenario
def what_transactions_refuse(ctx):
    accounts = _accounts(ctx)
    outcomes = []
    for refused in (
        lambda session: ctx.db.command("count", "accounts", session=session),
        lambda session: ctx.db.command("dropDatabase", session=session),
        lambda session: accounts.find_one({}, session=session) and session.start_transaction(),
        lambda session: (
            ctx.db.command("find", "accounts", readConcern={"level": "local"}, session=session)
            and ctx.db.command("find", "accounts", readConcern={"level": "local"}, session=session)
        ),
    ):
        with ctx.client.start_session() as session:
            session.start_transaction()
            outcomes.append(expect.failure(lambda: refused(session)))
    with ctx.client.start_session() as session:
        session.start_transaction(read_preference=ReadPreference.SECONDARY)
        outcomes.append(expect.failure(lambda: accounts.find_one({}, session=session), InvalidOperation))
    with ctx.client.start_session() as session:
        outcomes.append(expect.failure(session.commit_transaction, InvalidOperation))
        outcomes.append(
            expect.failure(lambda: session.start_transaction(write_concern=WriteConcern(0)), ConfigurationError)
        )
    return outcomes


@scenario
def many_transactions_at_once(ctx):
    accounts = _accounts(ctx, 8)
    failures = []

    def work(number):
        try:
            with ctx.client.start_session() as session:
                for step in range(5):
                    giver, taker = number, (number + 1 + step) % 8

                    def transfer(inner):
                        accounts.update_one({"_id": giver}, {"$inc": {"sum": -1}}, session=inner)
                        accounts.update_one({"_id": taker}, {"$inc": {"sum": 1}}, session=inner)

                    session.with_transaction(transfer)
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect.equal(failures, [])
    expect.equal(sum(_sums(accounts)), 800)
    return _sums(accounts)

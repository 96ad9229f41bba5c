"""What drivers retry, and what they are told of failures that the server was made to answer with (`failCommand`)."""

from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError, WriteConcernError

from . import expect
from .registry import scenario


def _namespace(ctx) -> str:
    return f"{ctx.database}.things"


@scenario
def reads_survive_a_lost_connection(ctx):
    things = ctx.seed("things", [{"_id": n} for n in range(50)])
    things.find_one()
    outcomes = []
    for command, read in (
        ("find", lambda: len(list(things.find()))),
        ("aggregate", lambda: things.count_documents({})),
        ("distinct", lambda: len(things.distinct("_id"))),
        ("count", lambda: things.estimated_document_count()),
    ):
        with ctx.fail_point(failCommands=[command], closeConnection=True, namespace=_namespace(ctx)):
            outcomes.append(read())
    expect.equal(outcomes, [50] * 4)
    return outcomes


@scenario
def writes_survive_a_lost_connection_and_are_applied_once(ctx):
    things = ctx.seed("things", [{"_id": 0, "n": 0}])
    for command, write in (
        ("update", lambda: things.update_one({"_id": 0}, {"$inc": {"n": 1}})),
        ("insert", lambda: things.insert_many([{"_id": n} for n in range(1, 6)])),
        ("findAndModify", lambda: things.find_one_and_update({"_id": 0}, {"$inc": {"n": 1}})),
        ("delete", lambda: things.delete_one({"_id": 5})),
    ):
        with ctx.fail_point(failCommands=[command], closeConnection=True, namespace=_namespace(ctx)):
            write()
    seen = list(things.find().sort("_id"))
    expect.equal(seen, [{"_id": 0, "n": 2}, *({"_id": n} for n in range(1, 5))])
    return seen


@scenario
def without_retries_a_lost_connection_is_an_error(ctx):
    # Which error rightly differs: the driver's own directly, the proxy's answer through it.
    ctx.seed("things", [{"_id": 0}])
    client = ctx.connect(retryReads=False, retryWrites=False)
    things = client[ctx.database].things
    things.find_one()
    # The proxy sends a read again of its own accord, but not for ever.
    often = {"times": 10}
    with ctx.fail_point(failCommands=["find"], closeConnection=True, namespace=_namespace(ctx), mode=often):
        expect.failure(lambda: things.find_one(), PyMongoError)
    expect.equal(things.find_one(), {"_id": 0})
    with ctx.fail_point(failCommands=["update"], closeConnection=True, namespace=_namespace(ctx)):
        expect.failure(lambda: things.update_many({}, {"$inc": {"n": 1}}), PyMongoError)
    expect.equal(things.find_one(), {"_id": 0})
    return "an error"


@scenario
def error_labels_are_the_servers(ctx):
    things = ctx.seed("things", [{"_id": 0}])
    errors = []
    for labels, code in (
        (["RetryableWriteError"], 8),
        ([], 8),
        (["Made up", "Another"], 2),
        (["NoWritesPerformed"], 96),
    ):
        with ctx.fail_point(
            failCommands=["insert"], errorCode=code, errorLabels=labels, namespace=_namespace(ctx), mode={"times": 3}
        ):
            error = expect.failure(lambda: things.insert_one({"_id": 1}), OperationFailure, code)
            expect.true(set(labels) <= error._error_labels, f"the labels {labels} of {error!r}")
            errors.append(error)
    return errors


@scenario
def write_concern_errors_are_told_with_the_result(ctx):
    things = ctx.seed("things", [{"_id": 0}])
    concern = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    errors = []
    with ctx.fail_point(failCommands=["insert"], writeConcernError=concern, namespace=_namespace(ctx)):
        errors.append(expect.failure(lambda: things.insert_one({"_id": 1}), WriteConcernError, 64))
    with ctx.fail_point(failCommands=["insert"], writeConcernError=concern, namespace=_namespace(ctx)):
        errors.append(expect.failure(lambda: things.insert_many([{"_id": 2}, {"_id": 3}]), BulkWriteError))
    with ctx.fail_point(failCommands=["findAndModify"], writeConcernError=concern, namespace=_namespace(ctx)):
        errors.append(expect.failure(lambda: things.find_one_and_delete({"_id": 3}), WriteConcernError))
    seen = sorted(one["_id"] for one in things.find())
    expect.equal(seen, [0, 1, 2])
    return [errors, seen]


@scenario
def a_failing_get_more_is_told_and_not_repeated(ctx):
    things = ctx.seed("things", [{"_id": n} for n in range(50)])
    cursor = things.find(batch_size=10).sort("_id")
    first = [next(cursor)["_id"] for _ in range(10)]
    with ctx.fail_point(failCommands=["getMore"], errorCode=8, errorLabels=[], namespace=_namespace(ctx)):
        error = expect.failure(lambda: next(cursor), OperationFailure, 8)
    return [first, error]


@scenario
def a_change_stream_resumes_after_a_lost_connection(ctx):
    ctx.seed("things", [{"_id": 0}])
    things = ctx.db.things
    with things.watch(max_await_time_ms=200) as stream:
        expect.equal(stream.try_next(), None)
        with ctx.fail_point(failCommands=["getMore"], closeConnection=True, namespace=_namespace(ctx)):
            things.insert_one({"_id": 1})
            event = expect.eventually(stream.try_next, "the event after the lost connection")
    expect.equal(event["documentKey"], {"_id": 1})
    return event["operationType"]


@scenario
def transactions_are_run_again_after_a_lost_connection(ctx):
    things = ctx.seed("things", [{"_id": 0, "n": 0}])
    tries = []

    def work(session):
        tries.append(1)
        things.find_one({}, session=session)
        things.update_one({"_id": 0}, {"$inc": {"n": 1}}, session=session)

    with ctx.client.start_session() as session:
        with ctx.fail_point(failCommands=["update"], closeConnection=True, namespace=_namespace(ctx)):
            session.with_transaction(work)
    expect.equal([len(tries), things.find_one()], [2, {"_id": 0, "n": 1}])
    return [len(tries), things.find_one()]

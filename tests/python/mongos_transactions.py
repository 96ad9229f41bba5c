"""Transactions of PyMongo on a presented mongos: prints what was committed, and the token that it echoed."""

import json
import sys

import pymongo
from pymongo import monitoring


class Commits(monitoring.CommandListener):
    def __init__(self):
        self.tokens = []

    def started(self, event):
        if event.command_name in ("commitTransaction", "abortTransaction"):
            self.tokens.append(event.command.get("recoveryToken"))

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def main(uri):
    commits = Commits()
    client = pymongo.MongoClient(uri, event_listeners=[commits])
    collection = client.mongos_transactions.tides
    collection.drop()
    collection.insert_one({"_id": 0})

    with client.start_session() as session:
        for number in (1, 2):
            session.with_transaction(lambda s: collection.insert_one({"_id": number}, session=s))
            # Committed again: drivers may, and stay where the transaction was.
            session.commit_transaction()
        session.start_transaction()
        collection.insert_one({"_id": 3}, session=session)
        assert collection.count_documents({}, session=session) == 4
        session.abort_transaction()

    committed = collection.count_documents({})
    aborted = collection.count_documents({"_id": 3})
    collection.drop()
    client.close()
    assert all(token == commits.tokens[0] for token in commits.tokens), commits.tokens
    print(json.dumps({"committed": committed, "aborted": aborted, "token": commits.tokens[0]}))


main(sys.argv[1])

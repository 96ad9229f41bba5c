"""Works through a proxy that is stopped and started again, and tells how that went.

Arguments: the URI; a folder for signs: this script makes `working` once it works, its caller `restarted` once the proxy
is back. The last line of the output is a JSON object.
"""

import json
import pathlib
import sys
import time

import pymongo
from pymongo.errors import AutoReconnect

uri, folder = sys.argv[1], pathlib.Path(sys.argv[2])
client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=20000)
collection = client["fleet"]["reconnect"]
collection.drop()

done, errors, after = [], [], 0
deadline = time.monotonic() + 60
number = 0
while after < 20 and time.monotonic() < deadline:
    number += 1
    restarted = (folder / "restarted").exists()
    try:
        collection.insert_one({"_id": number})
        assert collection.find_one({"_id": number}) is not None
        done.append(number)
        after += restarted
    except AutoReconnect as error:
        errors.append(type(error).__name__)
    if number == 20:
        (folder / "working").touch()
    time.sleep(0.005)

there = {document["_id"] for document in collection.find()}
lost = [number for number in done if number not in there]
print(json.dumps({"done": len(done), "errors": errors, "after": after, "lost": len(lost)}))

"""Files in GridFS."""

import hashlib

import gridfs
from gridfs.errors import FileExists, NoFile
from pymongo import ReadPreference, WriteConcern

from . import expect
from .registry import scenario

CONTENT = b"".join(hashlib.sha512(bytes([n % 251, n // 251])).digest() for n in range(50_000))


@scenario
def a_file_goes_up_and_comes_down(ctx):
    bucket = gridfs.GridFSBucket(ctx.db)
    with bucket.open_upload_stream_with_id("file", "name.bin", metadata={"kind": "test"}) as stream:
        for start in range(0, len(CONTENT), 300_000):
            stream.write(CONTENT[start : start + 300_000])
    with bucket.open_download_stream("file") as stream:
        expect.true(stream.read() == CONTENT, "the content that went up")
        stream.seek(1_000_000)
        part = stream.read(1000)
    expect.true(part == CONTENT[1_000_000:1_001_000], "the part sought for")
    chunks = ctx.db["fs.chunks"].count_documents({"files_id": "file"})
    expect.equal(chunks, -(-len(CONTENT) // (255 * 1024)))
    found = [(one.filename, one.length, one.metadata) for one in bucket.find({"filename": "name.bin"})]
    return [found, chunks, sorted(ctx.db["fs.chunks"].index_information())]


@scenario
def revisions_renames_deletions_and_errors(ctx):
    bucket = gridfs.GridFSBucket(ctx.db, bucket_name="own", chunk_size_bytes=1024)
    for n in range(3):
        bucket.upload_from_stream_with_id(n, "name", bytes([n]) * 5000)
    revisions = [bucket.open_download_stream_by_name("name", revision).read()[0] for revision in (0, 1, -1)]
    expect.equal(revisions, [0, 1, 2])
    bucket.rename(1, "renamed")
    bucket.delete(0)
    absent = expect.failure(lambda: bucket.open_download_stream(0), NoFile)
    exists = expect.failure(lambda: bucket.upload_from_stream_with_id(2, "name", b"x"), FileExists)
    aborted = bucket.open_upload_stream("aborted")
    aborted.write(b"x" * 5000)
    aborted.abort()
    left = sorted(one.filename for one in bucket.find())
    expect.equal(left, ["name", "renamed"])
    expect.equal(ctx.db["own.chunks"].count_documents({}), 10)
    # The message of one repeats the client with its options.
    return [revisions, left, type(absent).__name__, type(exists).__name__]


@scenario
def files_are_read_from_secondaries(ctx):
    everywhere = ctx.client.get_database(ctx.database, write_concern=WriteConcern(w=3, wtimeout=30_000))
    gridfs.GridFSBucket(everywhere).upload_from_stream_with_id("file", "name", CONTENT)
    before = ctx.replica_set.served(f"{ctx.database}.fs.chunks")
    bucket = gridfs.GridFSBucket(ctx.client.get_database(ctx.database, read_preference=ReadPreference.SECONDARY))
    expect.true(bucket.open_download_stream("file").read() == CONTENT, "the content that went up")
    after = ctx.replica_set.served(f"{ctx.database}.fs.chunks")
    primary = ctx.replica_set.primary.address
    expect.equal(after[primary]["queries"], before[primary]["queries"], "chunk reads on the primary")
    return "the content that went up"

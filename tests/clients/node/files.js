// GridFS.
'use strict';

const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const { GridFSBucket } = require('mongodb');
const { assert, failure } = require('./harness');

const content = Buffer.alloc(1_500_000, 'Tidegate ');

async function read(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

exports['a file goes up and comes down'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  const bucket = new GridFSBucket(db, { writeConcern: { w: 3 } });
  const upload = bucket.openUploadStream('name.bin', { metadata: { kind: 'test' } });
  await pipeline(Readable.from([content.subarray(0, 400_000), content.subarray(400_000)]), upload);
  assert.ok(content.equals(await read(bucket.openDownloadStream(upload.id))), 'the content that went up');
  const part = await read(bucket.openDownloadStreamByName('name.bin', { start: 1_000_000, end: 1_000_100 }));
  assert.ok(content.subarray(1_000_000, 1_000_100).equals(part), 'the part asked for');
  const away = new GridFSBucket(db, { readPreference: 'secondary' });
  assert.ok(content.equals(await read(away.openDownloadStream(upload.id))), 'the content on a secondary');
  const [file] = await bucket.find({ filename: 'name.bin' }).toArray();
  return [file, await db.collection('fs.chunks').countDocuments(), await db.collection('fs.chunks').indexes()];
};

exports['revisions, renames, deletions of files'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  const bucket = new GridFSBucket(db, { bucketName: 'own', chunkSizeBytes: 1024 });
  const uploads = [];
  for (let n = 0; n < 3; n += 1) {
    const upload = bucket.openUploadStream('name');
    await pipeline(Readable.from([Buffer.alloc(5000, n)]), upload);
    uploads.push(upload.id);
  }
  const revisions = [];
  for (const revision of [0, 1, -1]) revisions.push((await read(bucket.openDownloadStreamByName('name', { revision })))[0]);
  assert.deepEqual(revisions, [0, 1, 2]);
  await bucket.rename(uploads[1], 'renamed');
  await bucket.delete(uploads[0]);
  const absent = await failure(() => read(bucket.openDownloadStream(uploads[0])));
  const aborted = bucket.openUploadStream('aborted');
  const ended = new Promise((resolve) => { aborted.once('error', resolve); });
  aborted.write(Buffer.alloc(5000));
  await aborted.abort();
  const end = await ended;
  const left = (await bucket.find().toArray()).map((one) => one.filename).sort();
  assert.deepEqual(left, ['name', 'renamed']);
  await bucket.drop();
  return [revisions, absent.name, absent.message, end.message, left];
};

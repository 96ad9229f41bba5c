// What a user that may only read is told. Usage: URI, the same with a wrong password, the same with an unknown user.
'use strict';

const { MongoClient } = require('mongodb');

async function withClient(uri, action) {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 10000 });
  try {
    return await action(client);
  } catch (error) {
    return [error.code, error.errmsg];
  } finally {
    await client.close();
  }
}

async function main([right, wrong, unknown]) {
  const birds = (client) => client.db('shore').collection('birds');
  const status = await withClient(right, (client) => client.db('admin').command({ connectionStatus: 1 }));
  const told = {
    users: status.authInfo.authenticatedUsers,
    roles: status.authInfo.authenticatedUserRoles,
    found: (await withClient(right, (client) => birds(client).find().toArray())).length,
    denied: await withClient(right, (client) => birds(client).insertOne({})),
    wrong: await withClient(wrong, (client) => birds(client).findOne()),
    unknown: await withClient(unknown, (client) => birds(client).findOne()),
  };
  console.log(JSON.stringify(told));
}

main(process.argv.slice(2));

<?php
// The exercise of PHP's driver 1.15, by its lowest level, which is what Debian has.
//
// Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.

use MongoDB\Driver\{BulkWrite, Command, Cursor, Manager, Query, ReadPreference, WriteConcern};
use MongoDB\Driver\Exception\{BulkWriteException, Exception, RuntimeException};

[, $address, $name] = $argv;
$manager = new Manager("mongodb://$address/" . (isset($argv[3]) ? "?replicaSet=$argv[3]" : ''));
$things = "$name.things";
$shapes = ['circle', 'square', 'star'];

function code(Throwable $error)
{
    if ($error instanceof BulkWriteException) {
        $result = $error->getWriteResult();
        if ($result->getWriteErrors()) return $result->getWriteErrors()[0]->getCode();
        if ($result->getWriteConcernError()) return $result->getWriteConcernError()->getCode();
    }
    return $error->getCode() ?: get_class($error);
}

function refused(callable $what)
{
    try {
        $what();
    } catch (Exception $error) {
        return code($error);
    }
    return 'accepted';
}

function step(string $step, callable $what): void
{
    $line = ['step' => $step];
    try {
        $line['outcome'] = $what();
    } catch (Exception $error) {
        $line['error'] = code($error);
        $line['message'] = $error->getMessage();
    }
    echo json_encode($line), "\n";
}

function command(array $command, array $options = []): Cursor
{
    global $manager, $name;
    return $manager->executeReadCommand($name, new Command($command), $options);
}

function write(string $collection, WriteConcern $concern, callable $fill, array $options = [])
{
    global $manager, $name;
    $bulk = new BulkWrite($options);
    $fill($bulk);
    return $manager->executeBulkWrite("$name.$collection", $bulk, ['writeConcern' => $concern]);
}

function find($query = [], array $options = [], string $collection = 'things'): array
{
    global $manager, $name;
    return $manager->executeQuery("$name.$collection", new Query($query, $options))->toArray();
}

function insert(array $ids): callable
{
    return function ($bulk) use ($ids) {
        foreach ($ids as $id) $bulk->insert(['_id' => $id]);
    };
}

function sum(array $found): array
{
    return [count($found), $found[0]->_id, end($found)->_id, array_sum(array_map(fn($each) => $each->n, $found))];
}

$safe = new WriteConcern(1);
$later = ['_id' => ['$gte' => 400]];

step('connect', function () {
    command(['dropDatabase' => 1]);
    return true;
});
step('insert', function () use ($safe) {
    $document = ['_id' => 0, 'n' => 0, 'shape' => 'circle', 'deep' => ['list' => [1, ['two' => 2.5]]]];
    write('things', $safe, fn($bulk) => $bulk->insert($document));
    return find(['_id' => 0])[0];
});
step('bulk', function () use ($safe, $shapes) {
    $result = write('things', $safe, function ($bulk) use ($shapes) {
        foreach (range(1, 299) as $n) {
            $bulk->insert(['_id' => $n, 'n' => $n, 'shape' => $shapes[$n % 3], 'text' => str_repeat('x', 100)]);
        }
    });
    return $result->getInsertedCount();
});
step('bulk with a duplicate, continued', function () use ($safe, $later) {
    $failed = refused(fn() => write('things', $safe, insert([400, 0, 401]), ['ordered' => false]));
    return [$failed, count(find($later))];
});
step('bulk with a duplicate, stopped', function () use ($safe, $later) {
    $failed = refused(fn() => write('things', $safe, insert([402, 0, 403])));
    return [$failed, write('things', $safe, fn($bulk) => $bulk->delete($later))->getDeletedCount()];
});
step('w=0', function () {
    $none = new WriteConcern(0);
    write('unacknowledged', $none, insert([0, 1, 2]));
    write('unacknowledged', $none, function ($bulk) {
        $bulk->update(['_id' => 1], ['$set' => ['n' => 10]]);
        $bulk->update(['_id' => 7], ['_id' => 7, 'n' => 70], ['upsert' => true]);
        $bulk->update([], ['$inc' => ['n' => 1]], ['multi' => true]);
        $bulk->delete(['_id' => 0], ['limit' => 1]);
    });
    write('unacknowledged', $none, insert([2]));
    return find([], ['sort' => ['_id' => 1]], 'unacknowledged');
});
step('update', function () use ($safe) {
    $change = ['$set' => ['shape' => 'line'], '$push' => ['list' => 1]];
    $result = write('things', $safe, fn($bulk) => $bulk->update(['_id' => 1], $change));
    return [$result->getMatchedCount(), find(['_id' => 1], ['projection' => ['text' => 0]])[0]];
});
step('update, multi', function () use ($safe) {
    $change = fn($bulk) => $bulk->update(['shape' => 'star'], ['$inc' => ['n' => 1000]], ['multi' => true]);
    return write('things', $safe, $change)->getMatchedCount();
});
step('update, none', function () use ($safe) {
    return write('things', $safe, fn($bulk) => $bulk->update(['_id' => 'none'], ['$set' => ['n' => 1]]))->getMatchedCount();
});
step('upsert', function () use ($safe) {
    $change = fn($bulk) => $bulk->update(['_id' => 500], ['$set' => ['n' => 5]], ['upsert' => true]);
    return [write('things', $safe, $change)->getUpsertedIds(), find(['_id' => 500])[0]];
});
step('replace', function () use ($safe) {
    write('things', $safe, fn($bulk) => $bulk->update(['_id' => 500], ['n' => 6, 'new' => true]));
    return find(['_id' => 500])[0];
});
step('remove', function () use ($safe) {
    return write('things', $safe, fn($bulk) => $bulk->delete(['_id' => 500], ['limit' => 1]))->getDeletedCount();
});
step('index', function () {
    command(['createIndexes' => 'things', 'indexes' => [
        ['key' => ['shape' => 1, 'n' => -1], 'name' => 'shape_1_n_-1', 'background' => true],
        ['key' => ['code' => 1], 'name' => 'codes', 'unique' => true, 'sparse' => true],
    ]]);
    return array_map(fn($index) => [$index->name, $index->key], command(['listIndexes' => 'things'])->toArray());
});
step('duplicate key', function () use ($safe) {
    write('things', $safe, fn($bulk) => $bulk->insert(['_id' => 600, 'code' => 1]));
    $set = ['$set' => ['code' => 1]];
    $seen = [
        refused(fn() => write('things', $safe, insert([0]))),
        refused(fn() => write('things', $safe, fn($bulk) => $bulk->insert(['_id' => 601, 'code' => 1]))),
        refused(fn() => write('things', $safe, fn($bulk) => $bulk->update(['_id' => 0], $set))),
        refused(fn() => write('things', $safe, fn($bulk) => $bulk->update(['_id' => 602], $set, ['upsert' => true]))),
    ];
    write('things', $safe, fn($bulk) => $bulk->delete(['_id' => ['$gte' => 600]]));
    return $seen;
});
step('getLastError, majority', function () {
    $majority = new WriteConcern('majority', 10000);
    return write('things', $majority, fn($bulk) => $bulk->update(['_id' => 2], ['$set' => ['safe' => 1]]))->getMatchedCount();
});
step('getLastError, more members than there are', function () {
    $set = fn($bulk) => $bulk->update(['_id' => 2], ['$set' => ['safe' => 2]]);
    return [refused(fn() => write('things', new WriteConcern(9, 100), $set)), find(['_id' => 2])[0]->safe];
});
step('findAndModify', function () {
    $modify = fn($command) => command(['findAndModify' => 'things'] + $command)->toArray()[0]->value;
    return [
        $modify(['query' => ['_id' => 3], 'update' => ['$set' => ['n' => -3]], 'fields' => ['n' => 1]]),
        $modify(['query' => ['_id' => 3], 'update' => ['$inc' => ['n' => -1]], 'fields' => ['n' => 1], 'new' => true]),
        $modify(['query' => ['_id' => 800], 'update' => ['$set' => ['n' => 8]], 'upsert' => true, 'new' => true]),
        $modify(['query' => ['_id' => 800], 'remove' => true]),
    ];
});
step('cursor with getMore', fn() => sum(find([], ['sort' => ['_id' => 1], 'batchSize' => 50])));
step("cursor with the driver's batches", fn() => count(find()));
step('limit and skip over batches', function () {
    return sum(find([], ['sort' => ['_id' => 1], 'skip' => 10, 'limit' => 120, 'batchSize' => 50]));
});
step('killCursors', function () use ($manager, $things) {
    $cursor = $manager->executeQuery($things, new Query([], ['sort' => ['_id' => 1], 'batchSize' => 10]));
    $cursor->rewind();
    $first = $cursor->current()->_id;
    unset($cursor);
    return [$first, find(['_id' => 9])[0]->_id];
});
step('sort', fn() => find(['shape' => 'circle'], ['projection' => ['n' => 1], 'sort' => ['n' => -1], 'limit' => 3]));
step('find with operators', function () {
    $query = ['$or' => [['_id' => 5], ['n' => ['$in' => [7, 8.0]]]], 'text' => ['$exists' => true]];
    return [sum(find($query, ['sort' => ['_id' => 1]])), refused(fn() => find(['n' => ['$unknown' => 1]]))];
});
step('count', fn() => command(['count' => 'things', 'query' => ['shape' => 'circle']])->toArray()[0]->n);
step('distinct', fn() => command(['distinct' => 'things', 'key' => 'shape'])->toArray()[0]->values);
step('aggregate', function () {
    $group = ['$group' => ['_id' => '$shape', 'count' => ['$sum' => 1]]];
    $pipeline = [['$match' => ['shape' => ['$exists' => true]]], $group, ['$sort' => ['_id' => 1]]];
    return command(['aggregate' => 'things', 'pipeline' => $pipeline, 'cursor' => new stdClass()])->toArray();
});
step('listCollections', function () {
    $names = array_map(fn($each) => $each->name, command(['listCollections' => 1])->toArray());
    sort($names);
    return $names;
});
step('read from a secondary', function () use ($manager, $things) {
    $preferred = ['readPreference' => new ReadPreference('secondaryPreferred')];
    $found = [];
    // Secondaries follow in their own time.
    for ($tries = 0; $tries < 500 && !$found; $tries++) {
        $found = $manager->executeQuery($things, new Query(['_id' => 4]), $preferred)->toArray();
    }
    return $found[0]->n;
});
step('errors of commands', fn() => refused(fn() => command(['unknownCommand' => 1])));
step('drop', function () {
    command(['drop' => 'things']);
    $left = count(find());
    command(['dropDatabase' => 1]);
    return $left;
});

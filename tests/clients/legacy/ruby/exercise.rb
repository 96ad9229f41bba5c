# The exercise of the Ruby driver 2.5.
#
# Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.
require 'json'
require 'mongo'

Mongo::Logger.logger.level = Logger::FATAL
address, name, set_name = ARGV
options = { database: name, server_selection_timeout: 10 }
set_name ? options[:replica_set] = set_name : options[:connect] = :direct
CLIENT = Mongo::Client.new([address], options)
THINGS = CLIENT[:things]
SHAPES = %w[circle square star].freeze

def code(error)
  return error.code if error.respond_to?(:code) && error.code
  result = error.respond_to?(:result) && error.result
  statement = result && (result['writeErrors'] || []).first
  found = statement ? statement['code'] : error.message[/(?:^|\()(E?\d+)/, 1]
  found || error.class.name
end

def refused
  yield
  'accepted'
rescue Mongo::Error => error
  code(error)
end

def step(title)
  line = { step: title }
  begin
    line[:outcome] = yield
  rescue Mongo::Error => error
    line[:error] = code(error)
    line[:message] = error.message
  end
  puts line.to_json
end

# Waits until what was written without acknowledgement, or on another node, is seen.
def settled(collection, query)
  500.times do
    found = collection.find(query).first
    return found if found
    sleep 0.01
  end
  raise "never seen: #{query}"
end

def sum(found)
  [found.size, found.first['_id'], found.last['_id'], found.map { |each| each['n'] }.reduce(:+)]
end

$stdout.sync = true

step('connect') { CLIENT.database.drop && true }
step('insert') do
  THINGS.insert_one(_id: 0, n: 0, shape: 'circle', deep: { list: [1, { two: 2.5 }] })
  THINGS.find(_id: 0).first
end
step('bulk') do
  THINGS.insert_many((1..299).map { |n| { _id: n, n: n, shape: SHAPES[n % 3], text: 'x' * 100 } })
  THINGS.count
end
step('bulk with a duplicate, continued') do
  failed = refused { THINGS.insert_many([400, 0, 401].map { |n| { _id: n } }, ordered: false) }
  [failed, THINGS.count(_id: { '$gte' => 400 })]
end
step('bulk with a duplicate, stopped') do
  failed = refused { THINGS.insert_many([402, 0, 403].map { |n| { _id: n } }) }
  [failed, THINGS.delete_many(_id: { '$gte' => 400 }).deleted_count]
end
step('w=0') do
  thing = CLIENT.with(write: { w: 0 })[:unacknowledged]
  (0..2).each { |n| thing.insert_one(_id: n, n: n) }
  settled(thing, _id: 2)
  thing.update_one({ _id: 1 }, '$set' => { n: 10 })
  thing.replace_one({ _id: 7 }, { _id: 7, n: 70 }, upsert: true)
  thing.update_many({}, '$inc' => { n: 1 })
  thing.delete_one(_id: 0)
  [2, 9].each { |n| thing.insert_one(_id: n) }
  settled(thing, _id: 9)
  thing.find.sort(_id: 1).to_a
end
step('update') do
  result = THINGS.update_one({ _id: 1 }, '$set' => { shape: 'line' }, '$push' => { list: 1 })
  [result.matched_count, THINGS.find(_id: 1).projection(text: 0).first]
end
step('update, multi') do
  result = THINGS.update_many({ shape: 'star' }, '$inc' => { n: 1000 })
  [result.matched_count, THINGS.count(n: { '$gte' => 1000 })]
end
step('update, none') { THINGS.update_one({ _id: 'none' }, '$set' => { n: 1 }).matched_count }
step('upsert') do
  [THINGS.update_one({ _id: 500 }, { '$set' => { n: 5 } }, upsert: true).upserted_id, THINGS.find(_id: 500).first]
end
step('replace') { [THINGS.replace_one({ _id: 500 }, n: 6, new: true).matched_count, THINGS.find(_id: 500).first] }
step('remove') { [500, 'none'].map { |id| THINGS.delete_one(_id: id).deleted_count } }
step('index') do
  THINGS.indexes.create_one({ shape: 1, n: -1 }, background: true)
  THINGS.indexes.create_one({ code: 1 }, unique: true, sparse: true, name: 'codes')
  THINGS.indexes.map { |each| [each['name'], each['key'], each['unique'] ? true : false] }
end
step('duplicate key') do
  THINGS.insert_one(_id: 600, code: 1)
  set = { '$set' => { code: 1 } }
  seen = [
    refused { THINGS.insert_one(_id: 0) },
    refused { THINGS.insert_one(_id: 601, code: 1) },
    refused { THINGS.update_one({ _id: 0 }, set) },
    refused { THINGS.update_one({ _id: 602 }, set, upsert: true) }
  ]
  THINGS.delete_many(_id: { '$gte' => 600 })
  seen
end
step('getLastError, majority') do
  safe = CLIENT.with(write: { w: 'majority', wtimeout: 10_000 })[:things]
  safe.insert_one(_id: 700)
  [safe.update_one({ _id: 2 }, '$set' => { safe: 1 }).matched_count, safe.delete_one(_id: 700).deleted_count]
end
step('getLastError, more members than there are') do
  many = CLIENT.with(write: { w: 9, wtimeout: 100 })[:things]
  [refused { many.update_one({ _id: 2 }, '$set' => { safe: 2 }) }, THINGS.find(_id: 2).first['safe']]
end
step('findAndModify') do
  fields = { projection: { shape: 1, n: 1 } }
  after = fields.merge(return_document: :after)
  [
    THINGS.find_one_and_update({ _id: 3 }, { '$set' => { n: -3 } }, fields),
    THINGS.find_one_and_update({ _id: 3 }, { '$inc' => { n: -1 } }, after),
    THINGS.find_one_and_update({ _id: 800 }, { '$set' => { n: 8 } }, after.merge(upsert: true)),
    THINGS.find_one_and_delete(_id: 800),
    THINGS.find_one_and_update({ _id: 'none' }, '$set' => { n: 1 })
  ]
end
step('cursor with getMore') { sum(THINGS.find.sort(_id: 1).batch_size(50).to_a) }
step("cursor with the driver's batches") { THINGS.find.to_a.size }
step('limit and skip over batches') { sum(THINGS.find.sort(_id: 1).skip(10).limit(120).batch_size(50).to_a) }
step('killCursors') do
  view = THINGS.find.sort(_id: 1).batch_size(10)
  first = view.to_enum.next
  view.close_query if view.respond_to?(:close_query)
  [first['_id'], THINGS.find(_id: 9).first['_id']]
end
step('sort') { THINGS.find(shape: 'circle').projection(n: 1).sort(n: -1).limit(3).to_a }
step('hint and explain') do
  found = THINGS.find(shape: 'square', n: { '$lt' => 10 }).projection(n: 1).hint(shape: 1, n: -1).to_a
  [found, THINGS.find(shape: 'square').explain.key?('queryPlanner')]
end
step('find with operators') do
  query = { '$or' => [{ _id: 5 }, { n: { '$in' => [7, 8.0] } }], text: { '$exists' => true } }
  [sum(THINGS.find(query).sort(_id: 1).to_a), refused { THINGS.find(n: { '$unknown' => 1 }).to_a }]
end
step('count') { [THINGS.count, THINGS.find(shape: 'circle').skip(90).limit(20).count] }
step('distinct') { THINGS.distinct(:shape).sort }
step('aggregate') do
  group = { '$group' => { _id: '$shape', count: { '$sum' => 1 } } }
  THINGS.aggregate([{ '$match' => { shape: { '$exists' => true } } }, group, { '$sort' => { _id: 1 } }]).to_a
end
step('mapReduce') do
  map = 'function() { emit(this.shape, 1); }'
  reduce = 'function(key, values) { return Array.sum(values); }'
  THINGS.find(_id: { '$lt' => 10 }).map_reduce(map, reduce).to_a.sort_by { |each| each['_id'] }
end
step('listCollections') { CLIENT.database.collection_names.sort }
step('listDatabases') { CLIENT.database_names.include?(CLIENT.database.name) }
step('read from a secondary') { settled(CLIENT.with(read: { mode: :secondary_preferred })[:things], _id: 4)['n'] }
step('errors of commands') { refused { CLIENT.database.command(unknownCommand: 1) } }
step('drop') do
  THINGS.indexes.drop_one('codes')
  THINGS.drop
  left = THINGS.count
  CLIENT.database.drop
  left
end
exit!(0)

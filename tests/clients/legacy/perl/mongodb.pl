# The exercise of Perl's MongoDB driver.
#
# Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.
use strict;
use warnings;

use JSON::PP;
use MongoDB;
use Scalar::Util 'reftype';

my ($address, $name, $set_name) = @ARGV;
my $json = JSON::PP->new->canonical->allow_blessed->convert_blessed->allow_nonref;
my $client = MongoDB->connect("mongodb://$address/" . ($set_name ? "?replicaSet=$set_name" : ''), { dt_type => undef });
my $db = $client->get_database($name);
my $things = $db->get_collection('things');
my @shapes = ('circle', 'square', 'star');

# Documents keep the order of their keys, and numbers are told as numbers.
sub document { return { map { $_ => value($_[0]{$_}) } keys %{ $_[0] } } }

sub value {
    my ($value) = @_;
    return document($value) if ref $value && reftype($value) eq 'HASH';
    return [map { value($_) } @$value] if ref $value eq 'ARRAY';
    return 0 + "$value" if defined $value && "$value" =~ /^-?\d+(\.\d+)?$/;
    return $value;
}

sub all { return [map { document($_) } $_[0]->all] }

# The code with which something fails.
sub refused {
    my ($what) = @_;
    return 'accepted' if eval { $what->(); 1 };
    return code($@);
}

# Errors of writes keep the server's code in their result.
sub code {
    my ($error) = @_;
    return "$error" unless ref $error;
    return 0 + $error->code if $error->can('code') && $error->code;
    return ref $error;
}

sub step {
    my ($step, $what) = @_;
    my %line = (step => $step);
    if (!eval { $line{outcome} = $what->(); 1 }) {
        $line{error} = code($@);
        $line{message} = ref $@ && $@->can('message') ? $@->message : "$@";
    }
    print $json->encode(\%line), "\n";
}

# Waits until what was written without acknowledgement is seen.
sub settled {
    my ($collection, $query) = @_;
    for (1 .. 500) {
        return if $collection->find_one($query);
        select undef, undef, undef, 0.01;
    }
    die 'never seen: ' . $json->encode($query);
}

$| = 1;

step connect => sub {
    $db->drop;
    return JSON::PP::true;
};

step insert => sub {
    $things->insert_one({ _id => 0, n => 0, shape => 'circle', deep => { list => [1, { two => 2.5 }] } });
    return document($things->find_one({ _id => 0 }));
};

step bulk => sub {
    my @documents = map { { _id => $_, n => $_, shape => $shapes[$_ % 3], text => 'x' x 100 } } 1 .. 299;
    $things->insert_many(\@documents);
    return 0 + $things->count_documents({});
};

step 'bulk with a duplicate, continued' => sub {
    my $bulk = $things->unordered_bulk;
    $bulk->insert_one({ _id => $_ }) for 400, 0, 401;
    return [refused(sub { $bulk->execute }), 0 + $things->count_documents({ _id => { '$gte' => 400 } })];
};

step 'bulk with a duplicate, stopped' => sub {
    my $failed = refused(sub { $things->insert_many([map { { _id => $_ } } 402, 0, 403]) });
    return [$failed, 0 + $things->delete_many({ _id => { '$gte' => 400 } })->deleted_count];
};

step 'w=0' => sub {
    my $thing = $db->get_collection('unacknowledged', { write_concern => { w => 0 } });
    $thing->insert_one({ _id => $_, n => $_ }) for 0 .. 2;
    settled($thing, { _id => 2 });
    $thing->update_one({ _id => 1 }, { '$set' => { n => 10 } });
    $thing->replace_one({ _id => 7 }, { _id => 7, n => 70 }, { upsert => 1 });
    $thing->update_many({}, { '$inc' => { n => 1 } });
    $thing->delete_one({ _id => 0 });
    $thing->insert_one({ _id => $_ }) for 2, 9;
    settled($thing, { _id => 9 });
    return all($thing->find({}, { sort => [_id => 1] }));
};

step update => sub {
    my $result = $things->update_one({ _id => 1 }, { '$set' => { shape => 'line' }, '$push' => { list => 1 } });
    return [0 + $result->matched_count, document($things->find_one({ _id => 1 }, { text => 0 }))];
};

step 'update, multi' => sub {
    my $result = $things->update_many({ shape => 'star' }, { '$inc' => { n => 1000 } });
    return [0 + $result->matched_count, 0 + $things->count_documents({ n => { '$gte' => 1000 } })];
};

step 'update, none' => sub { 0 + $things->update_one({ _id => 'none' }, { '$set' => { n => 1 } })->matched_count };

step upsert => sub {
    my $result = $things->update_one({ _id => 500 }, { '$set' => { n => 5 } }, { upsert => 1 });
    return [0 + $result->upserted_id, document($things->find_one({ _id => 500 }))];
};

step replace => sub {
    my $result = $things->replace_one({ _id => 500 }, { n => 6, new => 'yes' });
    return [0 + $result->matched_count, document($things->find_one({ _id => 500 }))];
};

step remove => sub {
    my $some = $things->delete_many({ _id => { '$gte' => 500 } });
    return [0 + $some->deleted_count, 0 + $things->delete_one({ _id => 'none' })->deleted_count];
};

step index => sub {
    my $view = $things->indexes;
    my @made = (
        $view->create_one([shape => 1, n => -1], { background => 1 }),
        $view->create_one([code => 1], { unique => 1, sparse => 1, name => 'codes' }),
    );
    my @found = map { [$_->{name}, document($_->{key}), $_->{unique} ? 1 : 0] } $view->list->all;
    return [\@made, [sort { $a->[0] cmp $b->[0] } @found]];
};

step 'duplicate key' => sub {
    $things->insert_one({ _id => 600, code => 1 });
    my $set = { '$set' => { code => 1 } };
    my @seen = (
        refused(sub { $things->insert_one({ _id => 0 }) }),
        refused(sub { $things->insert_one({ _id => 601, code => 1 }) }),
        refused(sub { $things->update_one({ _id => 0 }, $set) }),
        refused(sub { $things->update_one({ _id => 602 }, $set, { upsert => 1 }) }),
    );
    $things->delete_many({ _id => { '$gte' => 600 } });
    return \@seen;
};

step 'getLastError, majority' => sub {
    my $safe = $things->clone(write_concern => { w => 'majority', wtimeout => 10000 });
    my $result = $safe->update_one({ _id => 2 }, { '$set' => { safe => 1 } });
    $safe->insert_one({ _id => 700 });
    return [0 + $result->matched_count, 0 + $safe->delete_one({ _id => 700 })->deleted_count];
};

step 'getLastError, more members than there are' => sub {
    my $many = $things->clone(write_concern => { w => 9, wtimeout => 100 });
    my $failed = refused(sub { $many->update_one({ _id => 2 }, { '$set' => { safe => 2 } }) });
    return [$failed, value($things->find_one({ _id => 2 })->{safe})];
};

step findAndModify => sub {
    my $fields = { projection => { shape => 1, n => 1 } };
    my $after = { %$fields, returnDocument => 'after' };
    return [
        map { defined $_ ? document($_) : undef } $things->find_one_and_update({ _id => 3 }, { '$set' => { n => -3 } }, $fields),
        $things->find_one_and_update({ _id => 3 }, { '$inc' => { n => -1 } }, $after),
        $things->find_one_and_update({ _id => 800 }, { '$set' => { n => 8 } }, { %$after, upsert => 1 }),
        $things->find_one_and_delete({ _id => 800 }),
        scalar $things->find_one_and_update({ _id => 'none' }, { '$set' => { n => 1 } }),
    ];
};

step 'cursor with getMore' => sub {
    my @found = map { value($_->{n}) } $things->find({}, { sort => [_id => 1], batchSize => 50 })->all;
    my $sum = 0;
    $sum += $_ for @found;
    return [scalar @found, [@found[0 .. 4]], [@found[148 .. 151]], $sum];
};

step "cursor with the driver's batches" => sub { scalar(my @all = $things->find->all) };

step 'limit and skip over batches' => sub {
    my $options = { sort => [_id => 1], skip => 10, limit => 120, batchSize => 50 };
    my @found = map { value($_->{_id}) } $things->find({}, $options)->all;
    return [scalar @found, $found[0], $found[-1]];
};

step killCursors => sub {
    my $cursor = $things->find({}, { sort => [_id => 1], batchSize => 10 });
    my $first = value($cursor->next->{_id});
    undef $cursor;
    return [$first, value($things->find_one({ _id => 9 })->{_id})];
};

step sort => sub {
    my $options = { sort => [n => -1], limit => 3, projection => { n => 1 } };
    return all($things->find({ shape => 'circle' }, $options));
};

step 'find with operators' => sub {
    my $query = { '$or' => [{ _id => 5 }, { n => { '$in' => [7, 8] } }], text => { '$exists' => 1 } };
    my @found = sort map { value($_->{_id}) } $things->find($query)->all;
    return [\@found, refused(sub { $things->find({ n => { '$unknown' => 1 } })->all })];
};

step count => sub {
    return [0 + $things->estimated_document_count, 0 + $things->count_documents({ shape => 'circle' })];
};

step distinct => sub { [sort $things->distinct('shape')->all] };

step aggregate => sub {
    my @pipeline = (
        { '$match' => { shape => { '$exists' => 1 } } },
        { '$group' => { _id => '$shape', count => { '$sum' => 1 } } },
        { '$sort' => { _id => 1 } },
    );
    return all($things->aggregate(\@pipeline));
};

step listCollections => sub { [sort grep { !/^system\./ } $db->collection_names] };

step listDatabases => sub { 0 + grep { $_ eq $name } $client->database_names };

step 'read from a secondary' => sub {
    my $read = $things->clone(read_preference => 'secondaryPreferred');
    # Secondaries follow in their own time.
    settled($read, { _id => 4 });
    return value($read->find_one({ _id => 4 })->{n});
};

step 'errors of commands' => sub { [refused(sub { $db->run_command([unknownCommand => 1]) })] };

step drop => sub {
    $things->drop;
    my $left = 0 + $things->count_documents({});
    $db->drop;
    return $left;
};

# The exercise of Mango (Perl).
#
# Arguments: an address and a database.
use strict;
use warnings;

use JSON::PP;
use Mango;
use Mango::BSON qw(bson_doc bson_code);

my ($address, $name) = @ARGV;
my $json = JSON::PP->new->canonical->allow_blessed->convert_blessed->allow_nonref;
my $mango = Mango->new("mongodb://$address/");
my $db = $mango->db($name);
my $things = $db->collection('things');
my @shapes = ('circle', 'square', 'star');

# The code with which something fails, or the words: this driver keeps no codes.
sub refused {
    my ($what) = @_;
    return 'accepted' if eval { $what->(); 1 };
    return code("$@");
}

sub code { return $_[0] =~ /(E11000)/ ? $1 : 'refused' }

sub step {
    my ($step, $what) = @_;
    my %line = (step => $step);
    if (!eval { $line{outcome} = $what->(); 1 }) {
        $line{error} = code("$@");
        $line{message} = "$@";
    }
    print $json->encode(\%line), "\n";
}

$| = 1;

step connect => sub {
    eval { $db->command('dropDatabase') };
    return 1;
};

step insert => sub {
    $things->insert(bson_doc(_id => 0, n => 0, shape => 'circle', deep => { list => [1, { two => 2.5 }] }));
    return $things->find_one({ _id => 0 });
};

step bulk => sub {
    my @documents = map { { _id => $_, n => $_, shape => $shapes[$_ % 3], text => 'x' x 100 } } 1 .. 299;
    return [scalar @{ $things->insert(\@documents) }, $things->find->count];
};

step 'bulk with a duplicate, stopped' => sub {
    my $failed = refused(sub { $things->insert([map { { _id => $_ } } 402, 0, 403]) });
    return [$failed, $things->remove({ _id => { '$gte' => 400 } })->{n}];
};

step 'bulk by the builder' => sub {
    my $bulk = $things->bulk;
    $bulk->insert({ _id => 410 })->find({ _id => 410 })->update({ '$set' => { n => 1 } });
    my $result = $bulk->find({ _id => 410 })->remove->execute;
    return [map { $result->{$_} } qw(nInserted nMatched nRemoved)];
};

step 'w=0' => sub {
    my $thing = $db->collection('unacknowledged');
    $mango->w(0);
    $thing->insert({ _id => $_, n => $_ }) for 0 .. 2;
    $thing->update({}, { '$inc' => { n => 1 } }, { multi => 1 });
    $thing->remove({ _id => 0 });
    $mango->w(1);
    return $thing->find->sort({ _id => 1 })->all;
};

step update => sub {
    my $result = $things->update({ _id => 1 }, { '$set' => { shape => 'line' }, '$push' => { list => 1 } });
    my $found = $things->find_one({ _id => 1 });
    return [$result->{n}, $found->{shape}, $found->{list}];
};

step 'update, multi' => sub {
    my $result = $things->update({ shape => 'star' }, { '$inc' => { n => 1000 } }, { multi => 1 });
    return [$result->{n}, $things->find({ n => { '$gte' => 1000 } })->count];
};

step 'update, none' => sub { $things->update({ _id => 'none' }, { '$set' => { n => 1 } })->{n} };

step upsert => sub {
    my $result = $things->update({ _id => 500 }, { '$set' => { n => 5 } }, { upsert => 1 });
    return [$result->{n}, $things->find_one({ _id => 500 })];
};

step replace => sub {
    $things->save({ _id => 500, n => 6 });
    return $things->find_one({ _id => 500 });
};

step remove => sub { [map { $things->remove({ _id => $_ }, { single => 1 })->{n} } 500, 'none'] };

step index => sub {
    $things->ensure_index(bson_doc(shape => 1, n => -1), { background => Mango::BSON::bson_true() });
    $things->ensure_index({ code => 1 }, { unique => Mango::BSON::bson_true(), sparse => Mango::BSON::bson_true(), name => 'codes' });
    my $found = $things->index_information;
    return { map { $_ => [$found->{$_}{key}, $found->{$_}{unique} ? 1 : 0] } keys %$found };
};

step 'duplicate key' => sub {
    $things->insert({ _id => 600, code => 1 });
    my $set = { '$set' => { code => 1 } };
    my @seen = (
        refused(sub { $things->insert({ _id => 0 }) }),
        refused(sub { $things->insert({ _id => 601, code => 1 }) }),
        refused(sub { $things->update({ _id => 0 }, $set) }),
        refused(sub { $things->update({ _id => 602 }, $set, { upsert => 1 }) }),
    );
    $things->remove({ _id => { '$gte' => 600 } });
    return \@seen;
};

step 'getLastError, majority' => sub {
    $mango->w('majority')->wtimeout(10000);
    my $result = $things->update({ _id => 2 }, { '$set' => { safe => 1 } });
    $things->insert({ _id => 700 });
    return [$result->{n}, $things->remove({ _id => 700 })->{n}];
};

step 'getLastError, more members than there are' => sub {
    $mango->w(9)->wtimeout(100);
    my $failed = refused(sub { $things->update({ _id => 2 }, { '$set' => { safe => 2 } }) });
    $mango->w(1)->wtimeout(1000);
    return [$failed, $things->find_one({ _id => 2 })->{safe}];
};

step findAndModify => sub {
    my $modify = sub { $things->find_and_modify({@_})->{n} };
    return [
        $modify->(query => { _id => 3 }, update => { '$set' => { n => -3 } }),
        $modify->(query => { _id => 3 }, update => { '$inc' => { n => -1 } }, new => Mango::BSON::bson_true()),
        $modify->(query => { _id => 800 }, update => { '$set' => { n => 8 } }, upsert => Mango::BSON::bson_true(), new => Mango::BSON::bson_true()),
        $modify->(query => { _id => 800 }, remove => Mango::BSON::bson_true()),
    ];
};

sub sum {
    my $sum = 0;
    $sum += $_->{n} for @_;
    return [scalar @_, $_[0]{_id}, $_[-1]{_id}, $sum];
}

step 'cursor with getMore' => sub { sum(@{ $things->find->sort({ _id => 1 })->batch_size(50)->all }) };

step "cursor with the driver's batches" => sub { scalar @{ $things->find->all } };

step 'limit and skip over batches' => sub {
    sum(@{ $things->find->sort({ _id => 1 })->skip(10)->limit(120)->batch_size(50)->all });
};

step killCursors => sub {
    my $cursor = $things->find->sort({ _id => 1 })->batch_size(10);
    my $first = $cursor->next->{_id};
    $cursor->rewind;
    return [$first, $things->find_one({ _id => 9 })->{_id}];
};

step sort => sub { $things->find({ shape => 'circle' }, { n => 1 })->sort({ n => -1 })->limit(3)->all };

step 'hint and explain' => sub {
    my $found = $things->find({ shape => 'square', n => { '$lt' => 10 } }, { n => 1 })->hint(bson_doc(shape => 1, n => -1))->all;
    return [$found, exists $things->find({ shape => 'square' })->explain->{queryPlanner} ? 1 : 0];
};

step 'find with operators' => sub {
    my $query = { '$or' => [{ _id => 5 }, { n => { '$in' => [7, 8] } }], text => { '$exists' => Mango::BSON::bson_true() } };
    my $found = $things->find($query)->sort({ _id => 1 })->all;
    return [sum(@$found), refused(sub { $things->find({ n => { '$unknown' => 1 } })->all })];
};

step count => sub { [$things->find->count, $things->find({ shape => 'circle' })->skip(90)->limit(20)->count] };

step distinct => sub { [sort @{ $things->find->distinct('shape') }] };

step aggregate => sub {
    my $cursor = $things->aggregate([
        { '$match' => { shape => { '$exists' => Mango::BSON::bson_true() } } },
        { '$group' => { _id => '$shape', count => { '$sum' => 1 } } },
        { '$sort' => { _id => 1 } },
    ]);
    return $cursor->all;
};

step mapReduce => sub {
    my $answer = $things->map_reduce(
        bson_code('function() { emit(this.shape, 1); }'),
        bson_code('function(key, values) { return Array.sum(values); }'),
        { query => { _id => { '$lt' => 10 } }, out => { inline => 1 } },
    );
    return { map { $_->{_id} => $_->{value} } @$answer };
};

step listCollections => sub { [sort grep { !/^system\./ } @{ $db->collection_names }] };

step 'errors of commands' => sub { refused(sub { $db->command('unknownCommand') }) };

step drop => sub {
    $things->drop_index('codes');
    $things->drop;
    my $left = $things->find->count;
    $db->command('dropDatabase');
    return $left;
};

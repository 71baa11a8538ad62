use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Group::Member;
use EV::Kafka::Group::Topics;
use EV::Kafka::Outbox;
use HandClock;
use Test::More;

# Which topics a member subscribes to, as metadata change. No socket, no client.

{
    package Cluster;
    sub listed_topics { return @{ $_[0]{topics} } }
    sub want { my ($self, $topic) = @_; push @{ $self->{wanted} }, $topic; return }
}

# { topics, member, cluster }
sub topics {
    my ($named, @patterns) = @_;
    my $clock  = HandClock->new;
    my $outbox = EV::Kafka::Outbox->new($clock, {}, sub { 0 });
    my $member = EV::Kafka::Group::Member->new(loop => $clock, outbox => $outbox, record => { group_id => 'g', topics => $named, patterns => \@patterns });
    my $self   = { member => $member, cluster => bless({ topics => [], wanted => [] }, 'Cluster') };
    $self->{topics} = EV::Kafka::Group::Topics->new(map { $_ => $self->{$_} } qw(member cluster));
    return $self;
}

# What it wants when the cluster has these.
sub with {
    my ($self, @there) = @_;
    $self->{cluster}{topics} = \@there;
    $self->{topics}->look;
    return join ' ', @{ $self->{member}->record->{topics} };
}

my $named = topics(['b', 'a']);
my $list  = $named->{member}->record->{topics};
is with($named, 'a', 'c'), 'b a', 'without a pattern it is what was named';
is $named->{member}->record->{topics}, $list, 'the very list';

my $mixed = topics(['x'], qr/^o-/, qr/p$/);
is with($mixed), 'x', 'a name, whether it is there or not';
is with($mixed, qw(o-2 o-1 my-o-3 top other)), 'o-1 o-2 top x', 'what matches any of the patterns, anywhere in the name';
$list = $mixed->{member}->record->{topics};
with($mixed, qw(o-1 o-2 top));
is $mixed->{member}->record->{topics}, $list, 'the list stays the same as long as nothing changes';
is with($mixed, qw(o-2 top)), 'o-1 o-2 top x', 'what is not there for once is not gone';
is_deeply $mixed->{cluster}{wanted}, ['o-1'], 'and looked for';
is with($mixed, qw(o-1 o-2 top)), 'o-1 o-2 top x', 'it may be there again';
with($mixed, qw(o-2 top));
is with($mixed, qw(o-2 top)), 'o-2 top x', 'what is not there twice is gone';
is with($mixed, qw(o-1 o-2 top)), 'o-1 o-2 top x', 'and may come again';
isnt $mixed->{member}->record->{topics}, $list, 'other topics are another list';
is_deeply [$mixed->{topics}->named], ['x'], 'what was named is known';

done_testing;

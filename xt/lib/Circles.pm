package Circles;
use v5.14;
use warnings;

use Exporter qw(import);
use List::Util qw(min);

our @EXPORT_OK = qw(circles);

# circles({ from => { to => 1 } }): the sets of nodes of which each can be reached from each other
# (Tarjan's strongly connected components), those of one node left out.
sub circles {
    my ($arrows) = @_;
    my $search = { arrows => $arrows, next => 0, index => {}, low => {}, stack => [], on_stack => {}, circles => [] };
    for my $node (sort keys %$arrows) {
        _visit($search, $node) unless defined $search->{index}{$node};
    }
    return sort { @$b <=> @$a || $a->[0] cmp $b->[0] } @{ $search->{circles} };
}

sub _visit {
    my ($search, $node) = @_;
    my ($index, $low, $stack, $on_stack) = @$search{qw(index low stack on_stack)};
    $index->{$node} = $low->{$node} = $search->{next}++;
    push @$stack, $node;
    $on_stack->{$node} = 1;
    for my $to (sort keys %{ $search->{arrows}{$node} || {} }) {
        if    (!defined $index->{$to}) { _visit($search, $to); $low->{$node} = min($low->{$node}, $low->{$to}) }
        elsif ($on_stack->{$to})       { $low->{$node} = min($low->{$node}, $index->{$to}) }
    }
    return if $low->{$node} != $index->{$node};
    my @circle;
    do {
        push @circle, pop @$stack;
        delete $on_stack->{ $circle[-1] };
    } until $circle[-1] eq $node;
    push @{ $search->{circles} }, [sort @circle] if @circle > 1;
    return;
}

1;

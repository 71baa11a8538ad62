package EV::Kafka::Tool::Table;
use strict;
use warnings;

use JSON::PP ();

# Rows as a table of text, or as JSON.

# A column begins where the widest entry of the one before it ends; numbers are at its right.
sub text {
    my ($class, $names, $rows) = @_;
    my @rows   = map { [map { $_ // '-' } @$_] } @$rows;
    my @width  = map { my $column = $_; my $widest = 0; for ($names, @rows) { $widest = length $_->[$column] if length $_->[$column] > $widest } $widest } 0 .. $#$names;
    my @format = map { my $column = $_; (grep { $_->[$column] !~ /\A-?[\d,.]*\z/ } @rows) || !@rows ? "%-$width[$column]s" : "%$width[$column]s" } 0 .. $#$names;
    return join '', map { my $row = $_; join('  ', map { sprintf $format[$_], $row->[$_] } 0 .. $#$names) =~ s/\s+\z//r . "\n" } $names, @rows;
}

# A line for each row, by the columns' names.
sub json {
    my ($class, $names, $rows) = @_;
    my $json = JSON::PP->new->canonical;
    return join '', map { my $row = $_; $json->encode({ map { lc $names->[$_] => $row->[$_] } 0 .. $#$names }) . "\n" } @$rows;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Table - rows and columns of ev-kafka

=head1 DESCRIPTION

For the commands of L<EV::Kafka::Tool>, not for use by itself.

=head1 METHODS

=head2 text(\@names, \@rows)

A table with these columns.

=head2 json(\@names, \@rows)

A line of JSON for each row.

=head1 SEE ALSO

L<ev-kafka>

=cut

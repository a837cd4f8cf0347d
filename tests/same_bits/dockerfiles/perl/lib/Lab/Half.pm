package Lab::Half;
our $VERSION = "1.0";
sub half { return $_[0] / 2 }
1;

=head1 NAME

Lab::Half - half of a number

=cut

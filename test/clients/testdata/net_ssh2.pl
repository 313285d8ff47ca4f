use strict;
use warnings;
use Net::SSH2;

my ($host, $port, $user) = @ARGV;
my $ssh = Net::SSH2->new();
$ssh->connect($host, $port) or die "connect: " . $ssh->error;
$ssh->auth_agent($user) or die "agent: " . join(' ', $ssh->error);
my $channel = $ssh->channel() or die "channel";
$channel->exec('true') or die "exec";

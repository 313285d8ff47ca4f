<?php
[, $host, $port, $user] = $argv;
$ssh = ssh2_connect($host, (int) $port) or exit(1);
ssh2_auth_agent($ssh, $user) or exit(1);
stream_get_contents(ssh2_exec($ssh, 'true'));

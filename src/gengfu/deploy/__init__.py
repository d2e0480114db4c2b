"""What keeps the program running on a server: texts for cron, systemd, supervisor and the BT panel."""

"""Adapters touch the world; each implements a port and maps foreign errors to the aaos tree."""

"""What a person types: the `cloudstack-hyperv` command; the only place that assembles the rest."""

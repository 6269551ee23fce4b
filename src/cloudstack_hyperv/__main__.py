"""`python -m cloudstack_hyperv` is the same as the `cloudstack-hyperv` command."""

from cloudstack_hyperv.cli.main import main

if __name__ == "__main__":
    main()

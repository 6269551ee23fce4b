"""The product's operations, played on a configured host, each result against its expectation."""

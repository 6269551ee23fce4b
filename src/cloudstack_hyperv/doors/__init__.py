"""CloudStack's way in: each door decodes a request, hands it to the resource, sends the answer."""

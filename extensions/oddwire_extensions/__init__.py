"""Sample extensions, each a package that imports only `oddwire`: ``oddwire run echo`` runs one by its name."""

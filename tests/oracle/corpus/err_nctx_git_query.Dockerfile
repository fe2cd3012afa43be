FROM src

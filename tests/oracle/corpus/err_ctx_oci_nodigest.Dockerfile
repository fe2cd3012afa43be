FROM foo

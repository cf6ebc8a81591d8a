"""The approximate engine: methods that change a trained model so that it behaves as if rows had not been there (DESIGN §5).

    recipe = weight mask + phases + stop rule          task = model + adapter + rows
                     │                                    │
                     ▼                                    ▼
    engine:  selector → objective | edit step → gradient transforms → hard mask → stop rule → seal

`recipe` says what a method is made of, `kitchen` is what it may touch while it runs, `engine` runs it, `seal` refuses
what did nothing, `state` lets it go on after a kill. `adapters/` has one file per modality, `methods/` one per method.
No database and no web: a checkpoint and rows go in, tensors, a manifest and a cost come out.
"""

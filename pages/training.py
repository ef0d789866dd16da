"""Training: how the run learned."""

from __future__ import annotations

import json

import streamlit as st

from fercore import cards, charts
from fercore.ui import loaders, picker, tables, widgets
from fercore.ui.text import plain

widgets.heading(
    "Training", "How the run learned: its curves, every setting needed to do it again, and the layers of its network."
)

run = picker.current()
st.markdown(plain(tables.summary(run)))
widgets.facts(tables.training_facts(run))

if run.members:
    widgets.section("Members", "This run averages the answers of others and has no curves of its own; see theirs.")
    for member in run.members:
        widgets.link("training", plain(member), run=member)

if loaders.has(run, "history.csv"):
    history = run.history()
    left, right = widgets.side_by_side(2)
    with left:
        widgets.show(
            loaders.once(charts.losses, history),
            "loss",
            "The loss is what training lowers. Where it rises on the validation faces while it falls on the training "
            "faces, the network fits those and no longer what faces have in common.",
        )
    with right:
        widgets.show(
            loaders.once(charts.accuracy_curves, history),
            "accuracy",
            "The weights of the best epoch are the ones that were kept.",
        )
elif not run.members:
    st.info("This run has no history of its training.", icon=":material/info:")

if study := run.study():
    widgets.section(
        "Search",
        f"The recipe was found by {len(study.trials)} short trainings of at most {study.recipe['epochs']} epochs, judged on "
        "validation faces alone; those that fell behind were stopped early.",
    )
    if study.best:
        widgets.show(
            loaders.once(charts.search_parameters, study),
            "search-parameters",
            "Each line is one trial, from its parameters down to the accuracy that it reached: thick the best, violet the four "
            "after it, dashed those that were stopped early.",
        )
        left, right = widgets.side_by_side(2)
        with left:
            widgets.show(
                loaders.once(charts.search_history, study),
                "search-history",
                "A dot is a trial, the line the best complete one so far. The first trials are drawn at random, later ones "
                "where earlier ones did well.",
            )
        if weights := loaders.once(charts.importances, study):
            with right:
                widgets.show(
                    weights,
                    "search-importance",
                    f"Estimated from the {len(study.of('complete'))} complete trials (fANOVA): a hint, not a measurement.",
                )
    with st.expander("All trials"):
        widgets.table(
            loaders.once(tables.trials, study), "trials", "Parameters, outcome and validation accuracy of every trial"
        )

layers = loaders.once(tables.layers, run)
if not layers.empty:
    widgets.section("Model", "Output shapes are height × width × channels, or the length of a vector.")
    widgets.table(
        layers,
        "layers",
        "Layers of the model",
        height="content" if len(layers) < 20 else 480,
        column_config={"Parameters": st.column_config.NumberColumn(format="localized")},
    )
    st.markdown(f"**{layers['Parameters'].sum():,}** parameters in all.")

widgets.section(
    "Answers",
    "A head answers with the classes of one label source. Its temperature makes the confidence honest; below its "
    "threshold an answer is given with reserve.",
)
widgets.table(tables.heads(run), "heads", "Heads of the network with temperature and threshold")

widgets.section("Configuration")
if run.info.get("recipe"):
    st.caption("Settings that are off are left out.")
    widgets.table(
        tables.settings(run.info["recipe"]), "configuration", "Settings of the training", width=560, height="content"
    )
    before = cards.starts_from(run.info)
    st.caption(f"To make it again. {cards.starting_note(before)}" if before else "To make it again:")
    made_by = cards.command(run.name, run.info)
    st.code(f"python -m fercore {made_by} --out artifacts/{run.name}-again", language="bash")
with st.expander("Machine and packages"):
    st.markdown(plain(run.info.get("machine", "not recorded")))
    widgets.table(tables.settings(run.info.get("packages", {})), "packages", "Versions of the packages used", width=560)
st.download_button(
    "Download everything about this run (JSON)",
    json.dumps(run.info, indent=1),
    f"{run.name}.json",
    "application/json",
    on_click="ignore",
    icon=":material/download:",
)

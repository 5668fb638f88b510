"""Recipes of `any_type` for the types of `transformers` beside the thirteen families of `tiny_models`."""

from __future__ import annotations

from any_type import Recipe
from patch_recipes import PATCH_RECIPES
from query_recipes import QUERY_RECIPES
from tower_recipes import TOWER_RECIPES

RECIPES: dict[str, Recipe] = {**PATCH_RECIPES, **QUERY_RECIPES, **TOWER_RECIPES}

"""Being written, right now, by another helper (not the ENGINE helper): leave this file alone and use it when it is there."""

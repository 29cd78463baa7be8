from dgex.signals import end_imports_on_interrupt

# Its modules import JAX before ``dgex.console.main`` takes over the signals; the commands of dgex and data_prep do not.
end_imports_on_interrupt()

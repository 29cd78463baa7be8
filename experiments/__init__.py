from dgex.signals import end_imports_on_interrupt

end_imports_on_interrupt()

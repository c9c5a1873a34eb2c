"""A technical reading as a picture: one description (Vega), drawn as an interactive HTML page or as a PNG image.

reading      what is shown           rows     the reading as plain rows       look    sizes, colours, formats
panels       which panel shows what  marks    how one panel is drawn          header  title, score, legend
labels       where patterns' names stand
description  all of it together      page     the HTML around it              render  description → file
"""

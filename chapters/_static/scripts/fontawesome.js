// Takes the place of the theme's script of this name, which has all of Font Awesome, 1.5 MB: icons.css has the icons that the pages show.

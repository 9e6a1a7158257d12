using System.Globalization;
using System.Xml.Linq;

namespace Subquartic.Reports;

/// <summary>A table of coloured cells as SVG: text that stands alone, without scripts, fonts or style sheets.</summary>
public static class CellGrid
{
    private const int Left = 230, CellWidth = 100, CellHeight = 26, Top = 70, Bottom = 40;

    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    /// <summary>Draws the table.</summary>
    /// <param name="title">Stands above it.</param>
    /// <param name="columns">Heads of the columns.</param>
    /// <param name="rows">Head of each row, and text and colour of its cells.</param>
    /// <param name="legend">What the colours mean.</param>
    /// <returns>The document.</returns>
    public static string Draw(
        string title, IReadOnlyList<string> columns, IReadOnlyList<(string Name, IReadOnlyList<(string Text, string Colour)> Cells)> rows,
        IReadOnlyList<(string Name, string Colour)> legend)
    {
        ArgumentNullException.ThrowIfNull(columns);
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(legend);
        int width = Left + (CellWidth * columns.Count) + 20, height = Top + (CellHeight * rows.Count) + Bottom;
        var root = new XElement(
            Svg + "svg", new XAttribute("viewBox", $"0 0 {width} {height}"), new XAttribute("width", width), new XAttribute("height", height),
            new XAttribute("font-family", "sans-serif"), new XAttribute("font-size", 13), new XAttribute("fill", "#333"),
            new XElement(Svg + "title", title), Box(0, 0, width, height, "#fff"), Text(20, 26, title, "start"));
        for (int c = 0; c < columns.Count; c++)
        {
            root.Add(Text(Left + (CellWidth * c) + (CellWidth / 2), Top - 10, columns[c], "middle"));
        }

        for (int r = 0; r < rows.Count; r++)
        {
            int y = Top + (CellHeight * r);
            root.Add(Text(Left - 10, y + 18, rows[r].Name, "end"));
            for (int c = 0; c < rows[r].Cells.Count; c++)
            {
                int x = Left + (CellWidth * c);
                root.Add(
                    Box(x, y, CellWidth - 2, CellHeight - 2, rows[r].Cells[c].Colour),
                    Text(x + (CellWidth / 2), y + 17, rows[r].Cells[c].Text, "middle"));
            }
        }

        for (int i = 0; i < legend.Count; i++)
        {
            root.Add(Box(Left + (CellWidth * i), height - 28, 14, 14, legend[i].Colour), Text(Left + (CellWidth * i) + 20, height - 16, legend[i].Name, "start"));
        }

        return root.ToString();
    }

    private static XElement Box(int x, int y, int width, int height, string colour) => new(
        Svg + "rect", Number("x", x), Number("y", y), Number("width", width), Number("height", height), new XAttribute("fill", colour));

    private static XElement Text(int x, int y, string text, string anchor) =>
        new(Svg + "text", Number("x", x), Number("y", y), new XAttribute("text-anchor", anchor), text);

    private static XAttribute Number(string name, int value) => new(name, value.ToString(CultureInfo.InvariantCulture));
}

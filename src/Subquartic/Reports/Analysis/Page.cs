using System.Globalization;
using System.Text;
using System.Xml.Linq;

namespace Subquartic.Reports.Analysis;

/// <summary>Pieces of a page that stands alone: HTML and SVG elements, and numbers as text. Colours are classes and variables of
/// <see cref="PageStyle"/>, so that a picture is right by day and by night.</summary>
internal static class Page
{
    private static readonly XNamespace SvgNamespace = "http://www.w3.org/2000/svg";

    /// <summary>An HTML element. Only elements without content by definition may be empty.</summary>
    public static XElement Html(string name, string? style, params object?[] content) =>
        new(name, style is null ? null : new XAttribute("class", style), content);

    /// <summary>A picture that is as wide as there is room.</summary>
    public static XElement Picture(double width, double height, string label, params object?[] content) => new(
        SvgNamespace + "svg", new XAttribute("viewBox", $"0 0 {Coordinate(width)} {Coordinate(height)}"), new XAttribute("role", "img"),
        new XAttribute("aria-label", label), content);

    /// <summary>An element of a picture.</summary>
    public static XElement Svg(string name, string? style, params object?[] content) =>
        new(SvgNamespace + name, style is null ? null : new XAttribute("class", style), content);

    /// <summary>A text in a picture; the anchor is a class of the style.</summary>
    public static XElement Text(double x, double y, string text, string style = "") =>
        Svg("text", style.Length == 0 ? null : style, At("x", x), At("y", y), text);

    /// <summary>A straight line.</summary>
    public static XElement Line(double x1, double y1, double x2, double y2, string style) =>
        Svg("path", style, new XAttribute("d", $"M{Coordinate(x1)} {Coordinate(y1)}L{Coordinate(x2)} {Coordinate(y2)}"));

    /// <summary>A curve through points.</summary>
    public static XElement Curve(IEnumerable<(double X, double Y)> points, string style) =>
        Svg("path", style, new XAttribute("d", "M" + string.Join('L', points.Select(p => $"{Coordinate(p.X)} {Coordinate(p.Y)}"))));

    /// <summary>An attribute that holds a coordinate.</summary>
    public static XAttribute At(string name, double value) => new(name, Coordinate(value));

    /// <summary>Filled squares, all in one element.</summary>
    public static XElement Squares(IEnumerable<(int Column, int Row)> cells, double size, string style)
    {
        var path = new StringBuilder();
        string side = Coordinate(size - 1);
        foreach ((int column, int row) in cells)
        {
            path.Append(CultureInfo.InvariantCulture, $"M{Coordinate(column * size)} {Coordinate(row * size)}h{side}v{side}h-{side}z");
        }

        return Svg("path", style, new XAttribute("d", path.ToString()));
    }

    /// <summary>A table; the first row is its head, the first column text, the others numbers.</summary>
    public static XElement Table(IEnumerable<string> head, IEnumerable<IEnumerable<object>> rows) => Html(
        "div", "scroll", Html(
            "table", null, Html("thead", null, Html("tr", null, head.Select(cell => Html("th", null, cell)))),
            Html("tbody", null, rows.Select(row => Html("tr", null, row.Select(cell => Html("td", null, cell)))))));

    /// <summary>Three digits; large numbers with a prefix; infinity as a sign.</summary>
    public static string Number(double value) => value switch
    {
        _ when double.IsNaN(value) => "?",
        _ when double.IsInfinity(value) => "∞",
        >= 1e15 => value.ToString("0.#e0", CultureInfo.InvariantCulture),
        >= 999.5e9 => Scaled(value / 1e12, "T"),
        >= 999.5e6 => Scaled(value / 1e9, "G"),
        >= 999.5e3 => Scaled(value / 1e6, "M"),
        >= 9999.5 => Scaled(value / 1e3, "k"),
        _ => Digits(value),
    };

    /// <summary>A share as "87 %".</summary>
    public static string Percent(double share) =>
        (100 * share).ToString(share is > 0 and < 0.0995 or > 0.995 and < 1 ? "0.##" : "0", CultureInfo.InvariantCulture) + " %";

    private static string Scaled(double value, string unit) => $"{Digits(value)} {unit}";

    private static string Digits(double value) => Math.Abs(value) switch
    {
        0 => "0",
        < 0.001 => value.ToString("0.0e0", CultureInfo.InvariantCulture),
        < 0.9995 => value.ToString("0.###", CultureInfo.InvariantCulture),
        < 9.995 => value.ToString("0.##", CultureInfo.InvariantCulture),
        < 99.95 => value.ToString("0.#", CultureInfo.InvariantCulture),
        _ => value.ToString("0", CultureInfo.InvariantCulture),
    };

    private static string Coordinate(double value) => value.ToString("0.#", CultureInfo.InvariantCulture);
}

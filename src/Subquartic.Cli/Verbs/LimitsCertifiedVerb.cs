using System.CommandLine;
using System.Globalization;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits certified</c>: where certified attention helps, and where nothing does.</summary>
internal sealed class LimitsCertifiedVerb : LimitsSubcommand
{
    private readonly Option<int> _maxSide = new Option<int>("--max-n")
    {
        Description = $"Largest side of the last token map: {RegimeReport.FirstSide}, 64, 128 or 256. 256 takes 16 times as long as 128.",
        HelpName = "side",
        DefaultValueFactory = _ => 64,
    }.Require(value => value is 32 or 64 or 128 or 256, "32, 64, 128 or 256");

    private readonly Option<int> _width = new Option<int>("--width")
    {
        Description = "Width of the heads.",
        HelpName = "channels",
        DefaultValueFactory = _ => 64,
    }.Require(value => value is >= 1 and <= 256, "a whole number, 1 to 256");

    private readonly Option<double> _tolerance = ToleranceOption("an output, as a fraction of the range of the values", 1e-2);

    public LimitsCertifiedVerb()
        : base(
            "certified", "Runs certified and audited attention on synthetic heads, flat to rough, and shows which path they take and how its work grows with n.",
            "limits certified",
            "limits certified --max-n 128 --tolerance 1e-3 --picture certified.svg")
    {
        Add(_maxSide);
        Add(_width);
        Add(_tolerance);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => RegimeReport.Measure(kernels, options.GetValue(_maxSide), options.GetValue(_width), options.GetValue(_tolerance), cancellation: cancellation),
        Documents.Default.RegimeReport, report => report.Picture(), Show);

    private static void Show(RegimeReport report, Terminal terminal)
    {
        Table(
            terminal, ["head", "n", "path", "flat", "merged", "exact", "work", "largest bound", "exponent", "audited", "its work"],
            report.Rows.SelectMany(row => row.Points.Select(point => (IEnumerable<object>)[
                row.Field, point.Side, point.Path, Units.Percent(point.Flat), Units.Percent(point.Merged), Units.Percent(point.Exact), point.Work, point.Bound,
                point == row.Points[^1] && row.Points.Count > 1 ? (object)row.Exponent : "", Units.Percent(point.Audited), point.AuditedWork])));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"Width {report.Width}, tolerance {report.Tolerance} of the range of V. Work is multiply-adds over those of exact attention, whose exponent is 4. Audited rows carry no bound."));
    }
}

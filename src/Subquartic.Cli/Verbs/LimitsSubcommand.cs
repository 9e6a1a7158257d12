using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json.Serialization.Metadata;
using Spectre.Console;
using Subquartic.Files;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Cli.Verbs;

/// <summary>What the sub-commands of <c>limits</c> share: a report becomes a JSON document or a table, and a picture.</summary>
internal abstract class LimitsSubcommand(string name, string description, params string[] examples) : Verb(name, description, examples)
{
    private readonly Option<FileInfo?> _picture = new("--picture") { Description = "Also write a picture of the result, as SVG.", HelpName = "file" };

    private readonly EngineOptions _engine = new();

    /// <summary>An option for the largest error.</summary>
    /// <param name="what">Error of what, as a fraction of what.</param>
    /// <param name="value">Its default.</param>
    protected static Option<double> ToleranceOption(string what, double value) => new Option<double>("--tolerance")
    {
        Description = $"Largest error of {what}.",
        HelpName = "fraction",
        DefaultValueFactory = _ => value,
    }.Require(parsed => parsed is > 0 and < 1, "a number above 0 and below 1");

    /// <summary>Adds <c>--picture</c> and <c>--json</c>, before them those of the kernels where something is computed with them; call it last.</summary>
    protected void AddOutput(bool withKernels = false)
    {
        if (withKernels)
        {
            _engine.AddTo(this, withModel: false, withAttention: false);
        }

        Add(_picture);
        AddJson();
    }

    /// <summary>The kernels asked for.</summary>
    protected KernelSet CreateKernels(ParseResult options) => _engine.CreateKernels(options);

    /// <summary>Measures with the kernels asked for and writes the report.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="terminal">Where to write.</param>
    /// <param name="measure">Makes the report.</param>
    /// <param name="type">How it becomes JSON.</param>
    /// <param name="picture">Draws it.</param>
    /// <param name="show">Writes its table and lines.</param>
    protected Task<int> MeasureAsync<T>(
        ParseResult options, Terminal terminal, Func<KernelSet, T> measure, JsonTypeInfo<T> type, Func<T, string> picture, Action<T, Terminal> show) => Task.Run(
        () =>
        {
            T report = terminal.During("Measuring", () => measure(CreateKernels(options)));
            Write(report, type, () => picture(report), () => show(report, terminal), options, terminal);
            return ExitCode.Success;
        },
        CancellationToken.None);

    /// <summary>Writes a report.</summary>
    /// <param name="report">The report.</param>
    /// <param name="type">How it becomes JSON.</param>
    /// <param name="picture">Draws it.</param>
    /// <param name="show">Writes its table and lines.</param>
    protected void Write<T>(T report, JsonTypeInfo<T> type, Func<string> picture, Action show, ParseResult options, Terminal terminal)
    {
        if (options.GetValue(_picture) is { } file)
        {
            file.Directory?.Create();
            AtomicFile.Write(file.ToString(), stream => stream.Write(Encoding.UTF8.GetBytes(picture())));
        }

        if (terminal.IsJson)
        {
            Terminal.WriteJson(report, type);
            return;
        }

        show();
        if (options.GetValue(_picture) is { } written)
        {
            terminal.Say($"  {written}");
        }
    }

    /// <summary>A table of numbers.</summary>
    protected static void Table(Terminal terminal, IEnumerable<string> columns, IEnumerable<IEnumerable<object>> rows)
    {
        Table table = Terminal.NewTable();
        foreach (string column in columns)
        {
            table.AddColumn(new TableColumn(new Text(column)).RightAligned());
        }

        foreach (IEnumerable<object> row in rows)
        {
            table.AddRow([.. row.Select(cell => new Text(cell is double number ? Number(number) : string.Create(CultureInfo.InvariantCulture, $"{cell}")))]);
        }

        terminal.Out.Write(table);
    }

    /// <summary>Three digits, or all digits of a whole number that is not too long.</summary>
    protected static string Number(double value) =>
        value.ToString(value == Math.Floor(value) && Math.Abs(value) < 1e7 ? "0" : "g3", CultureInfo.InvariantCulture);
}

using System.CommandLine;
using System.Diagnostics;
using Spectre.Console;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Cli;

/// <summary>What <c>generate</c> and <c>edit</c> share: watch the scales, save pictures as they are finished, and sum up.</summary>
internal sealed class Drawing(LoadedModel model, GenerationRequest request, DirectoryInfo folder, Terminal terminal)
{
    private const int MaxListed = 12;

    private readonly List<PictureDocument> _pictures = [];
    private readonly List<RgbImage> _finished = [];
    private readonly List<IReadOnlyList<RgbImage>> _previews = [];
    private GenerationStatistics _statistics = new();
    private TimeSpan _saving;
    private string? _grid;
    private double _peak;

    /// <summary>The option that names the folder for the pictures.</summary>
    public static Option<DirectoryInfo> OutOption() => new("--out", "-o")
    {
        Description = "Folder for the pictures; created when missing, pictures of the same name are replaced.",
        HelpName = "folder",
        DefaultValueFactory = _ => new DirectoryInfo("out"),
    };

    /// <summary>Draws; each picture is saved, whole or not at all, when its batch is finished.</summary>
    /// <param name="results">The generation.</param>
    /// <param name="columns">Columns of grid.png, 0 to choose, null for none.</param>
    public async Task RunAsync(IAsyncEnumerable<ScaleResult> results, int? columns)
    {
        CreateFolder(); // before the work, so that a bad name is known at once
        _peak = MultiplyAddPeak.Measure(model.Kernels); // once before and once after, since the clock may change between
        await WorkProgress.RunAsync(terminal, async report =>
        {
            await foreach (ScaleResult result in results)
            {
                report(DescribeNext(result), result.Progress);
                _statistics = result.Statistics;
                _previews.Add(result.Previews);
                if (result.Finished.Count > 0)
                {
                    Save(result.Finished);
                }
            }
        });
        if (columns is { } number && _finished.Count > 1)
        {
            long start = Stopwatch.GetTimestamp();
            _grid = Write(ContactSheet.Grid(_finished, number), "grid.png");
            _saving += Stopwatch.GetElapsedTime(start);
        }
    }

    /// <summary>Shows what came out and what it cost.</summary>
    public void Report()
    {
        double peak = Math.Max(_peak, MultiplyAddPeak.Measure(model.Kernels));
        StageDocument[] stages = [.. Stages(peak)];
        if (terminal.IsJson)
        {
            SamplingOptions s = request.Sampling;
            Terminal.WriteJson(new GenerateDocument(
                Describe(model), new SamplingDocument(request.Seed, request.Guidance.ToJson(), s.TopK, s.TopP, s.Temperature.ToJson(), s.Passes.ToJson(), s.MoreSmooth, request.Candidates),
                _pictures, _grid, stages, peak, Units.PeakMemory, model.Attention.Report()), Documents.Default.GenerateDocument);
            return;
        }

        Table table = Terminal.NewTable().AddColumn("stage");
        foreach (string column in new[] { "time", "work", "speed", "of peak" })
        {
            table.AddColumn(new TableColumn(column).RightAligned());
        }

        foreach (StageDocument stage in stages)
        {
            table.AddRow(
                stage.Stage, Units.Time(TimeSpan.FromSeconds(stage.Seconds)),
                stage.Flops is { } work ? Units.Flops(work) : "",
                stage.Flops is { } done ? Units.FlopsPerSecond(done / stage.Seconds) : "",
                stage.FractionOfPeak is { } fraction ? Units.Percent(fraction) : "");
        }

        terminal.Out.Write(table);
        ImageGenerator generator = model.Generator;
        VarConfig config = generator.Transformer.Config;
        terminal.Say($"Model: {model.Name}, depth {config.Depth}, width {config.Width}, {model.Attention.Name} attention.");
        terminal.Say(
            $"Peak: {Units.FlopsPerSecond(peak)} of multiply-adds ({model.Kernels.Name}, {model.Kernels.Pool.Threads} threads); " +
            $"memory {Units.Bytes(Units.PeakMemory)}.");
        model.Attention.Report()?.Show(terminal);
        string count = _pictures.Count == 1 ? "1 picture" : $"{_pictures.Count} pictures";
        terminal.Say($"{count} of {generator.ImageHeight} x {generator.ImageWidth} pixels, seed {request.Seed}:");
        foreach (PictureDocument picture in _pictures.Take(MaxListed))
        {
            terminal.Say($"  {picture.File}  {picture.Name}{(picture.Strip is null ? "" : $"  (scale by scale: {picture.Strip})")}");
        }

        if (_pictures.Count > MaxListed)
        {
            terminal.Say($"  … up to {_pictures[^1].File}");
        }

        if (_grid is not null)
        {
            terminal.Say($"  {_grid}  all of them");
        }
    }

    /// <summary>What is being done once a scale is done.</summary>
    private string DescribeNext(ScaleResult result)
    {
        ScaleSchedule scales = model.Generator.Transformer.Config.Scales;
        int first = result.FirstImage + 1, last = result.FirstImage + result.Images, next = result.Scale + 1;
        if (next == scales.Count)
        {
            (first, last, next) = (last + 1, Math.Min(last + result.Images, request.Labels.Count), 0);
        }

        string pictures = result.Images == request.Labels.Count ? "" : first >= last ? $"picture {last}, " : $"pictures {first} to {last}, ";
        return $"{pictures}scale {next + 1} of {scales.Count} ({scales[next]} tokens)";
    }

    private static ModelDocument Describe(LoadedModel model)
    {
        VarConfig config = model.Generator.Transformer.Config;
        return new ModelDocument(
            model.Path, model.Note, config.Depth, config.Width, config.Heads, config.Classes, model.Generator.ImageHeight, model.Generator.ImageWidth,
            config.Scales.ToString(), model.Attention.Name, model.Kernels.Name, model.Kernels.Pool.Threads);
    }

    private IEnumerable<StageDocument> Stages(double peak)
    {
        GenerationStatistics s = _statistics;
        yield return new StageDocument("load weights", model.LoadTime.TotalSeconds, null, null);
        yield return Counted("transformer", s.Transformer, s.TransformerFlops);
        yield return new StageDocument("sampling", s.Sampling.TotalSeconds, null, null);
        yield return new StageDocument("quantiser", s.Quantizer.TotalSeconds, null, null);
        yield return Counted("decoder", s.Decoder, s.DecoderFlops);
        yield return Counted("drawing, all stages", s.Total - s.Previews, s.TransformerFlops + s.DecoderFlops);
        if (request.Previews)
        {
            yield return new StageDocument("previews", s.Previews.TotalSeconds, null, null);
        }

        yield return new StageDocument("save pictures", _saving.TotalSeconds, null, null);

        StageDocument Counted(string name, TimeSpan time, long flops) => new(name, time.TotalSeconds, flops, flops / time.TotalSeconds / peak);
    }

    private void Save(IReadOnlyList<GeneratedImage> images)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < images.Count; i++)
        {
            GeneratedImage image = images[i];
            string name = ClassOption.Name(image.Label, model);
            string stem = $"{image.Index:000}-{string.Concat(name.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-'))}";
            string file = Write(image.Image, $"{stem}.png");
            string? strip = request.Previews
                ? Write(
                    ContactSheet.Strip([.. _previews.Where(scale => scale.Count > 0).Select(scale => scale[i]), image.Image]),
                    $"{stem}-scales.png")
                : null;
            _finished.Add(image.Image);
            _pictures.Add(new PictureDocument(image.Index, image.Label, name, file, strip, image.Tokens));
        }

        _previews.Clear();
        _saving += Stopwatch.GetElapsedTime(start);
    }

    private string Write(RgbImage image, string name)
    {
        string path = Path.Combine(folder.ToString(), name);
        ImageFile.Save(image, path);
        return path;
    }

    private void CreateFolder()
    {
        if (File.Exists(folder.FullName))
        {
            throw new UserException($"--out {folder}: there is a file of that name");
        }

        folder.Create();
    }
}

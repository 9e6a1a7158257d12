using System.CommandLine;
using Subquartic.Generation;

namespace Subquartic.Cli.Verbs;

/// <summary><c>generate</c>: draws pictures of classes.</summary>
internal sealed class GenerateVerb : Verb
{
    private const int MaxPictures = 10_000;

    private readonly Option<string[]?> _classes = ClassOption.Create(
        "[default: all classes, of models with more than 16 the first; of ImageNet those of the reference demo: volcano, lighthouse, bald eagle, fountain]");

    private readonly Option<int> _count = new Option<int>("--count", "-n")
    {
        Description = "Pictures of each class.",
        HelpName = "number",
        DefaultValueFactory = _ => 1,
    }.Require(value => value is >= 1 and <= MaxPictures, $"a whole number, 1 to {MaxPictures}");

    private readonly Option<DirectoryInfo> _out = Drawing.OutOption();

    private readonly Option<int> _grid = new Option<int>("--grid")
    {
        Description = "Columns of grid.png, which shows all pictures; 0 chooses, -1 writes none.",
        HelpName = "columns",
        DefaultValueFactory = _ => 0,
    }.Require(value => value >= -1, "a whole number, -1 or more");

    private readonly Option<bool> _strip = new("--strip")
    {
        Description = "Also save each picture scale by scale, coarse to fine, as NAME-scales.png.",
    };

    private readonly SamplingFlags _sampling = new();

    private readonly EngineOptions _engine = new();

    public GenerateVerb()
        : base(
            "generate", "Draws pictures of classes.",
            "generate",
            "generate --class \"golden retriever\" volcano --count 4 --seed 7",
            "generate --model ~/var-d16 --class 207 --guidance 1.5 --top-p 0.96 --strip --out pictures")
    {
        Add(_classes);
        Add(_count);
        Add(_out);
        Add(_grid);
        Add(_strip);
        _sampling.AddTo(this);
        _engine.AddTo(this);
        AddJson();
    }

    protected override async Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        using LoadedModel model = _engine.Load(options, terminal, withEncoder: false, cancellation);
        int[] labels = [.. ClassOption.Labels(options.GetValue(_classes), model.Generator.Transformer.Config.Classes, model.ClassNames)
            .SelectMany(label => Enumerable.Repeat(label, options.GetValue(_count)))];
        GenerationRequest request = _sampling.Request(options, labels, model.Sampling, model.Scales, model.Generator.HasCritic) with { Previews = options.GetValue(_strip) };
        var drawing = new Drawing(model, request, options.GetRequiredValue(_out), terminal);
        int columns = options.GetValue(_grid);
        await drawing.RunAsync(model.Generator.GenerateAsync(request, cancellation), columns < 0 ? null : columns);
        drawing.Report();
        return ExitCode.Success;
    }
}

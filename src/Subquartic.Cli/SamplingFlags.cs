using System.CommandLine;
using System.Globalization;
using Subquartic.Generation;

namespace Subquartic.Cli;

/// <summary>The options of verbs that draw: seed, guidance and how tokens are chosen. What is not given is as the model recommends, or the
/// reference's.</summary>
internal sealed class SamplingFlags
{
    private static readonly SamplingDefaults Reference = SamplingDefaults.Reference, Protocol = SamplingDefaults.Protocol;

    private readonly Option<ulong> _seed = new Option<ulong>("--seed", "-s")
    {
        Description = "Seed of the random numbers; the same seed gives the same bytes.",
        HelpName = "number",
        DefaultValueFactory = _ => 0,
    }.Require(_ => true, "a whole number, 0 or more");

    private readonly Option<ScaleValues> _guidance = new Option<ScaleValues>("--guidance", "-g")
    {
        Description = "Strength of the classifier-free guidance at the last scale, to which it grows, or of each scale, as in 0,0,1,2; 0 turns it off and halves the work. "
            + Otherwise(Reference.Guidance, string.Create(CultureInfo.InvariantCulture, $"the reference's evaluation takes {Protocol.Guidance}")),
        HelpName = "number",
    }.Require(values => values.Values.All(float.IsFinite), "a finite number, or one for each scale with commas between");

    private readonly Option<int> _topK = new Option<int>("--top-k")
    {
        Description = "Draw from the k likeliest tokens only; 0 for all. " + Otherwise(Reference.TopK),
        HelpName = "number",
    }.Require(value => value >= 0, "a whole number, 0 or more");

    private readonly Option<float> _topP = new Option<float>("--top-p")
    {
        Description = "Draw from the likeliest tokens that together have this probability; 0 or 1 for all. " + Otherwise(Reference.TopP),
        HelpName = "number",
    }.Require(value => value is >= 0 and <= 1, "a number, 0 to 1");

    private readonly Option<ScaleValues> _temperature = new Option<ScaleValues>("--temperature")
    {
        Description = "Above 1 more varied, below 1 more typical pictures; one number, or one for each scale. " + Otherwise(Reference.Temperature),
        HelpName = "number",
    }.Require(values => values.Values.All(value => value > 0 && float.IsFinite(value)), "a number above 0, or one for each scale with commas between");

    private readonly Option<ScaleValues> _passes = new Option<ScaleValues>("--passes")
    {
        Description = "Passes in which the tokens of a map are drawn, each seeing those of the passes before, by a model trained for it; one number, or one for each scale. " + Otherwise(Reference.Passes),
        HelpName = "number",
    }.Require(
        values => values.Values.All(value => value is >= 1 and <= SamplingOptions.MaxPasses && value == (int)value),
        $"a whole number, 1 to {SamplingOptions.MaxPasses}, or one for each scale with commas between");

    private readonly Option<int> _candidates = new Option<int>("--candidates")
    {
        Description = "Beginnings drawn of each picture, of which the model's critic chooses one to finish. [default: as the critic recommends, or 1]",
        HelpName = "number",
    }.Require(value => value is >= 1 and <= GenerationRequest.MaxCandidates, $"a whole number, 1 to {GenerationRequest.MaxCandidates}");

    private readonly Option<bool> _smooth = new("--smooth")
    {
        Description = "Mix code vectors instead of choosing one: smoother pictures, less detail.",
    };

    /// <summary>Adds the options to a verb.</summary>
    /// <param name="verb">The verb.</param>
    /// <param name="withCandidates">Whether it can draw several beginnings of a picture.</param>
    public void AddTo(Command verb, bool withCandidates = true)
    {
        verb.Validators.Add(result =>
        {
            if (result.GetValue(_smooth) && result.GetResult(_passes) is { Implicit: false } && result.GetValue(_passes).Values.Max() > 1)
            {
                result.AddError("--smooth draws all tokens of a map at once; it does not go with --passes");
            }
        });
        foreach (Option option in new Option[] { _seed, _guidance, _topK, _topP, _temperature, _passes, _smooth })
        {
            verb.Add(option);
        }

        if (withCandidates)
        {
            verb.Add(_candidates);
        }
    }

    /// <summary>What the options ask for.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="labels">What to draw.</param>
    /// <param name="otherwise">For options that were not given.</param>
    /// <param name="scales">Scales of the model.</param>
    /// <param name="hasCritic">Whether the model has a critic.</param>
    /// <exception cref="UserException">An option has another number of values, or asks for candidates where nothing can choose between them.</exception>
    public GenerationRequest Request(ParseResult options, IReadOnlyList<int> labels, SamplingDefaults otherwise, int scales, bool hasCritic)
    {
        if (options.GetValue(_candidates) > 1 && !hasCritic)
        {
            throw new UserException(
                $"{_candidates.Name} is {options.GetValue(_candidates)}, but the model has no critic to choose between them ({Critic.FileName} in its folder; 'train critic' makes one)");
        }

        foreach (Option<ScaleValues> option in new[] { _guidance, _temperature, _passes })
        {
            ScaleValues given = options.GetValue(option);
            if (!given.IsOne && given.Values.Count != scales)
            {
                throw new UserException($"{option.Name} has {given.Values.Count} values; give one, or one for each of the model's {scales} scales", ExitCode.Usage);
            }
        }

        return new GenerationRequest
        {
            Labels = labels,
            Seed = options.GetValue(_seed),
            Guidance = Given(_guidance, otherwise.Guidance),
            Candidates = Given(_candidates, otherwise.Candidates),
            Sampling = new SamplingOptions
            {
                TopK = Given(_topK, otherwise.TopK),
                TopP = Given(_topP, otherwise.TopP),
                Temperature = Given(_temperature, otherwise.Temperature),
                Passes = options.GetValue(_smooth) ? 1 : Given(_passes, otherwise.Passes),
                MoreSmooth = options.GetValue(_smooth),
            },
        };

        T Given<T>(Option<T> option, T value) => options.GetResult(option) is { Implicit: false } ? options.GetValue(option)! : value;
    }

    private static string Otherwise(ScaleValues reference, string? more = null) => string.Create(
        CultureInfo.InvariantCulture, $"[default: as the model recommends, or {reference}{(more is null ? "" : $"; {more}")}]");
}

namespace Subquartic.Generation;

/// <summary>Settings of drawing that hold where a user gives none: the reference's, or those that a model recommends for itself.</summary>
public sealed record SamplingDefaults
{
    /// <summary>Those of the reference's demonstration (VAR demo_sample.ipynb).</summary>
    public static SamplingDefaults Reference { get; } = new();

    /// <summary>Those of the reference's evaluation (VAR README.md, "Evaluation").</summary>
    public static SamplingDefaults Protocol { get; } = new() { Guidance = 1.5f, TopP = 0.96f };

    /// <summary>Strength of the guidance, as in <see cref="GenerationRequest.Guidance"/>.</summary>
    public ScaleValues Guidance { get; init; } = 4;

    /// <summary>As in <see cref="SamplingOptions.TopK"/>.</summary>
    public int TopK { get; init; } = 900;

    /// <summary>As in <see cref="SamplingOptions.TopP"/>.</summary>
    public float TopP { get; init; } = 0.95f;

    /// <summary>As in <see cref="SamplingOptions.Temperature"/>.</summary>
    public ScaleValues Temperature { get; init; } = 1;

    /// <summary>As in <see cref="SamplingOptions.Passes"/>.</summary>
    public ScaleValues Passes { get; init; } = 1;

    /// <summary>As in <see cref="GenerationRequest.Candidates"/>.</summary>
    public int Candidates { get; init; } = 1;

    /// <summary>A request with these settings.</summary>
    /// <param name="labels">The class of each image.</param>
    /// <returns>The request.</returns>
    public GenerationRequest Request(IReadOnlyList<int> labels) => new()
    {
        Labels = labels,
        Guidance = Guidance,
        Candidates = Candidates,
        Sampling = new SamplingOptions { TopK = TopK, TopP = TopP, Temperature = Temperature, Passes = Passes },
    };
}
